"""Settings: the environment (and a `.env` file), prefix `TRANSFER_GATE_` (contract section 7).

An unknown `TRANSFER_GATE_` name is an error, because a misspelt setting must not silently take its default.
"""

import difflib
import os
import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from transfer_gate.errors import InvalidInput
from transfer_gate.model.state import Bounds
from transfer_gate.model.topics import Topics

PREFIX = "TRANSFER_GATE_"
#: Mechanisms that log in with a token.
TOKEN_MECHANISMS: Final = ("OAUTHBEARER", "AWS_MSK_IAM")
#: What each way to log in needs.
_OF_PASSWORD: Final = ("sasl_username", "sasl_password_file")
_OF_OAUTH: Final = ("sasl_oauth_token_url", "sasl_oauth_client_id", "sasl_oauth_client_secret_file")
_MORE_OF_OAUTH: Final = ("sasl_oauth_scope", "sasl_oauth_audience", "sasl_oauth_cafile", "sasl_oauth_extensions")
_OF_MSK: Final = ("sasl_aws_region",)
#: One SASL extension (RFC 7628, section 3.1), without the commas that separate them here.
_EXTENSION: Final = re.compile(r"[A-Za-z]+=[!-+\--~ ]+")


class Settings(BaseSettings):
    """Everything that can be set from outside. Durations are seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    bootstrap_servers: str = Field(default="127.0.0.1:9092", description="Kafka brokers, `host:port`, comma separated.")
    app_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = Field(
        default="transfer-gate", description="Consumer group, changelog owner and transactional-id prefix."
    )
    client_rack: Annotated[str, Field(pattern=r"^[!-~]{1,250}$")] | None = Field(
        default=None,
        description="Rack or availability zone of this process, as `broker.rack` of the brokers beside it has it: what "
        "is read in bulk (restore, `quarantine`, `verify`, `replay`, auditor) comes from replicas there (KIP-392).",
    )
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,100}$")] = Field(
        default="", description="Goes in front of every topic name."
    )
    partitioner: Literal["murmur2", "crc32"] = Field(
        default="murmur2",
        description="How producers of the input topics choose the partition of a key: `murmur2` (Kafka's Java client "
        "and those that follow it) or `crc32` (librdkafka's default, `consistent_random`).",
    )
    registry: Path = Field(default=Path("registry"), description="Folder of partners, notices and policy.")
    data_dir: Path = Field(default=Path(".transfer-gate"), description="Local files: rocksdb state, the local Kafka.")
    store: Literal["memory://", "rocksdb://"] = Field(default="memory://", description="Where the consent table lives.")
    quarantine_key_file: Path | None = Field(
        default=None,
        description="Master keys, current one first; with it, payloads in quarantine are encrypted.",
    )
    operator: Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="Who acts, for the audit topic; default: the user of the operating system."
    )
    discard_confirm_records: Annotated[int, Field(ge=0)] = Field(
        default=1000, description="`quarantine discard` of more records than this needs --yes."
    )
    metrics_host: str = Field(default="127.0.0.1", description="Address of /metrics, /healthz and /readyz.")
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = Field(default=9464, description="0 takes any free port.")
    log_format: Literal["console", "json"] = Field(default="console", description="How log lines look.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="As in Kafka clients."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"] | None = Field(
        default=None,
        description="Required with SASL. `OAUTHBEARER`: tokens of an OpenID Connect provider; `AWS_MSK_IAM`: Amazon "
        "MSK with IAM (`pip install 'transfer-gate[msk]'`).",
    )
    sasl_username: str | None = Field(default=None, description="Required with `PLAIN` and SCRAM.")
    sasl_password_file: Path | None = Field(default=None, description="File that holds the SASL password, likewise.")
    sasl_oauth_token_url: str | None = Field(
        default=None,
        description="Token endpoint of the OpenID Connect provider, `https://…`. Required with `OAUTHBEARER`.",
    )
    sasl_oauth_client_id: str | None = Field(
        default=None, description="Client that tokens are for (client credentials). Required with `OAUTHBEARER`."
    )
    sasl_oauth_client_secret_file: Path | None = Field(
        default=None,
        description="File that holds the client's secret; read anew for every token. Required with `OAUTHBEARER`.",
    )
    sasl_oauth_scope: str = Field(default="", description="Scopes to ask for, with blanks between.")
    sasl_oauth_audience: str = Field(
        default="", description="`audience` to ask for, where the provider takes one (Auth0, Okta)."
    )
    sasl_oauth_cafile: Path | None = Field(
        default=None, description="CA certificates that sign the token endpoint's (PEM); default: the system's."
    )
    sasl_oauth_extensions: str = Field(
        default="",
        description="SASL extensions, `name=value`, commas between: Confluent Cloud wants "
        "`logicalCluster=lkc-…,identityPoolId=pool-…`.",
    )
    sasl_aws_region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] | None = Field(
        default=None, description="Region of the MSK cluster. Required with `AWS_MSK_IAM`."
    )
    ssl_cafile: Path | None = Field(default=None, description="CA certificates that sign the brokers' (PEM).")
    ssl_certfile: Path | None = Field(default=None, description="Client certificate and its chain, for mTLS (PEM).")
    ssl_keyfile: Path | None = Field(default=None, description="Key of the client certificate (PEM).")
    ssl_key_password_file: Path | None = Field(
        default=None, description="File that holds the password of `SSL_KEYFILE`, if it has one."
    )
    partitions: Annotated[int, Field(ge=1, le=10000)] | None = Field(
        default=None, description="For `topics apply`; default: the broker's."
    )
    replication: Annotated[int, Field(ge=1, le=10)] | None = Field(
        default=None, description="For `topics apply`; default: the broker's."
    )
    session_timeout_seconds: Annotated[float, Field(ge=1, le=1800)] = Field(
        default=10.0, description="A worker silent for this long loses its partitions."
    )
    transaction_timeout_seconds: Annotated[float, Field(ge=1, le=900)] = Field(
        default=30.0, description="The broker aborts a round that takes longer."
    )
    max_round_records: Annotated[int, Field(ge=1, le=100000)] = Field(
        default=2000, description="Most input records in one transaction."
    )
    max_inbox_records: Annotated[int, Field(ge=1, le=1000000)] = Field(
        default=8000, description="Fetched records that may wait per partition and topic before fetching pauses."
    )
    max_inbox_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 36)] = Field(
        default=64 << 20, description="Bytes of fetched records that all partitions of a worker hold together."
    )
    max_output_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 36)] = Field(
        default=32 << 20, description="Bytes of uncommitted outputs of a worker above which no round begins."
    )
    max_history_records: Annotated[int, Field(ge=10, le=100_000)] = Field(
        default=1000,
        description="Consent versions and oppositions kept of one prospect; one who has more is quarantined "
        "(`history-overflow`). The auditor and other commands need the same value.",
    )
    max_state_bytes: Annotated[int, Field(ge=4096, le=900_000)] = Field(
        default=512 << 10, description="Bytes kept of one prospect, likewise."
    )

    replay_approval_records: Annotated[int, Field(ge=0, le=100_000_000)] = Field(
        default=1000, description="A replay plan of more records needs the approval of a second person."
    )
    replay_breaker_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="`replay run` stops by itself when a larger share of outcomes is held again."
    )
    ingest_sources: Path = Field(
        default=Path("ingest"), description="Folder of source files of `ingest`, with their cases."
    )
    ingest_secrets: Path = Field(
        default=Path("ingest-secrets"), description="Folder of the tokens, passwords and keys that source files name."
    )
    ingest_host: str = Field(default="127.0.0.1", description="Address at which `ingest` takes requests.")
    ingest_port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8088, description="0 takes any free port.")
    ingest_certfile: Path | None = Field(
        default=None, description="Certificate of `ingest` and its chain (PEM); without it, it speaks plain HTTP."
    )
    ingest_keyfile: Path | None = Field(default=None, description="Key of that certificate (PEM).")
    ingest_trusted_proxies: str = Field(
        default="",
        description="Networks of reverse proxies before `ingest`, comma separated: their `X-Forwarded-For` is "
        "believed, and TLS ends there.",
    )
    ingest_ack_seconds: Annotated[float, Field(ge=0.1, le=60)] = Field(
        default=5.0, description="How long the brokers may take to acknowledge before `ingest` answers 503."
    )
    ingest_max_open_requests: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1000, description="Requests that `ingest` has open at most; more are answered with 503."
    )

    @field_validator("bootstrap_servers")
    @classmethod
    def _hosts_and_ports(cls, servers: str) -> str:
        for server in servers.split(","):
            host, _, port = server.strip().rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError("write host:port, several with commas between, such as 127.0.0.1:9092")
        return servers

    @model_validator(mode="after")
    def _no_silent_plaintext(self) -> Self:
        if self.security_protocol.startswith("SASL"):
            missing = [name for name in ("sasl_mechanism", *self._of_mechanism) if not getattr(self, name)]
            if missing:
                names = ", ".join(f"{PREFIX}{name.upper()}" for name in missing)
                raise ValueError(f"{self.security_protocol} needs {names}")
        elif any(getattr(self, name) for name in (*_OF_PASSWORD, *_OF_OAUTH, *_OF_MSK, "sasl_mechanism")):
            raise ValueError(
                f"SASL credentials are set but {PREFIX}SECURITY_PROTOCOL is {self.security_protocol}: "
                "they would not be used; set SASL_SSL"
            )
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_key_password_file"):
            if getattr(self, name) and not self.security_protocol.endswith("SSL"):
                raise ValueError(
                    f"{PREFIX}{name.upper()} is set but {PREFIX}SECURITY_PROTOCOL is {self.security_protocol}"
                )
        if self.brokers_are_local or self.security_protocol.endswith("SSL"):
            return self
        if self.sasl_mechanism in ("PLAIN", *TOKEN_MECHANISMS):
            secret = "password" if self.sasl_mechanism == "PLAIN" else "token"
            raise ValueError(
                f"{self.sasl_mechanism} over {self.security_protocol} shows the {secret} to everybody on the way; "
                "set SASL_SSL"
            )
        if "security_protocol" not in self.model_fields_set:
            raise ValueError(
                f"personal data would travel in clear to {self.bootstrap_servers}: set {PREFIX}SECURITY_PROTOCOL to "
                "SASL_SSL or SSL, or to PLAINTEXT if the network is yours and you mean it"
            )
        return self

    @model_validator(mode="after")
    def _login_is_of_its_mechanism(self) -> Self:
        if not self.security_protocol.startswith("SASL"):
            return self
        unused = [
            f"{PREFIX}{name.upper()}"
            for names in (_OF_PASSWORD, (*_OF_OAUTH, *_MORE_OF_OAUTH), _OF_MSK)
            if not set(names) & set(self._of_mechanism)
            for name in names
            if getattr(self, name)
        ]
        if unused:
            raise ValueError(f"{', '.join(unused)}: not used with {PREFIX}SASL_MECHANISM {self.sasl_mechanism}")
        for pair in self.sasl_oauth_extensions.split(","):
            if pair.strip() and not _EXTENSION.fullmatch(pair.strip()):
                raise ValueError(f"{PREFIX}SASL_OAUTH_EXTENSIONS: write name=value, several with commas between")
        if self.sasl_oauth_token_url is not None:
            try:
                url = urlsplit(self.sasl_oauth_token_url)
                scheme, host = url.scheme, url.hostname if url.username is None else None
            except ValueError:
                scheme, host = "", None
            if not host or scheme not in ("http", "https"):
                raise ValueError(f"{PREFIX}SASL_OAUTH_TOKEN_URL: write https://host/path, without user or password")
            if scheme == "http" and not _is_loopback(host):
                raise ValueError(f"{PREFIX}SASL_OAUTH_TOKEN_URL: the secret would travel in clear; write https://…")
        return self

    @model_validator(mode="after")
    def _client_certificate_is_complete(self) -> Self:
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            raise ValueError(f"{PREFIX}SSL_CERTFILE and {PREFIX}SSL_KEYFILE go together")
        if self.ssl_key_password_file and self.ssl_keyfile is None:
            raise ValueError(f"{PREFIX}SSL_KEY_PASSWORD_FILE is set without {PREFIX}SSL_KEYFILE")
        return self

    @model_validator(mode="after")
    def _ingest_is_not_in_clear(self) -> Self:
        if (self.ingest_certfile is None) != (self.ingest_keyfile is None):
            raise ValueError(f"{PREFIX}INGEST_CERTFILE and {PREFIX}INGEST_KEYFILE go together")
        for network in self.ingest_proxies:
            try:
                ip_network(network)
            except ValueError:
                raise ValueError(
                    f"{PREFIX}INGEST_TRUSTED_PROXIES: {network} is no network, such as 10.0.0.0/8"
                ) from None
        if self.ingest_certfile is None and not self.ingest_proxies and not _is_loopback(self.ingest_host):
            raise ValueError(
                f"consents would come in clear to {self.ingest_host}: set {PREFIX}INGEST_CERTFILE, or "
                f"{PREFIX}INGEST_TRUSTED_PROXIES to the proxies before it that speak TLS"
            )
        return self

    @property
    def ingest_proxies(self) -> list[str]:
        """Networks of the proxies before `ingest`."""
        return [network.strip() for network in self.ingest_trusted_proxies.split(",") if network.strip()]

    @property
    def _of_mechanism(self) -> tuple[str, ...]:
        """Settings that the SASL mechanism cannot do without."""
        if self.sasl_mechanism == "OAUTHBEARER":
            return _OF_OAUTH
        return _OF_MSK if self.sasl_mechanism == "AWS_MSK_IAM" else _OF_PASSWORD

    @property
    def oauth_extensions(self) -> dict[str, str]:
        """SASL extensions by name (RFC 7628)."""
        pairs = (pair.strip().partition("=") for pair in self.sasl_oauth_extensions.split(",") if pair.strip())
        return {name: value for name, _, value in pairs}

    @property
    def brokers_are_local(self) -> bool:
        """Whether every broker is on this machine, so that nothing crosses a network."""
        servers = [server.strip() for server in self.bootstrap_servers.split(",") if server.strip()]
        return all(_is_loopback(server.rpartition(":")[0].strip("[]")) for server in servers)

    @property
    def bounds(self) -> Bounds:
        """How much is kept of one prospect."""
        return Bounds(history_records=self.max_history_records, state_bytes=self.max_state_bytes)

    @property
    def topics(self) -> Topics:
        """Names of the topics of this installation."""
        return Topics(self.topic_prefix, self.app_id)


def load_settings(env_file: Path | None = Path(".env")) -> Settings:
    """Read the environment and `env_file`.

    Raises InvalidInput that names every unknown or wrong setting.
    """
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    given = dict(os.environ)
    if env_file is not None and env_file.is_file():
        try:
            given |= {name: value or "" for name, value in dotenv_values(env_file).items()}
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"{env_file} can't be read: {type(error).__name__}", do="it has lines NAME=value in UTF-8"
            ) from None
    unknown = sorted(name for name in given if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        hints = {name: difflib.get_close_matches(name.upper(), known, n=1) for name in unknown}
        listed = ", ".join(f"{name} (did you mean {near[0]}?)" if near else name for name, near in hints.items())
        raise InvalidInput(f"unknown setting: {listed}", do="see docs/reference/settings.md for the names that exist")
    try:
        return Settings(_env_file=env_file)  # type: ignore[call-arg]  # pydantic's mypy plugin does not know it
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_input=False, include_url=False):
            name = f"{PREFIX}{'_'.join(str(part) for part in problem['loc'])}".upper() if problem["loc"] else "settings"
            lines.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}")
        raise InvalidInput("; ".join(lines), do="see docs/reference/settings.md") from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
