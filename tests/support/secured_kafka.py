"""A real Kafka as production has it: TLS on every listener of clients, SCRAM-SHA-512, client certificates or
tokens, ACLs."""

import asyncio
import base64
import os
import secrets
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import trustme
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest_v1
from aiokafka.protocol.api import Request
from cryptography.hazmat.primitives import serialization

from tests.support.access import Right
from tests.support.token_server import AUDIENCE, TokenServer
from transfer_gate.errors import BrokerUnavailable
from transfer_gate.kafka.clients import client_options
from transfer_gate.kafka.session import open_session
from transfer_gate.local import broker
from transfer_gate.local.jars import cache_folder, kafka_jars, kafka_versions
from transfer_gate.local.java import archive_flags, archive_folder, find_java
from transfer_gate.local.loopback import LOOPBACK, free_port, is_free
from transfer_gate.settings import Settings

ADMIN: Final = "admin"
_PATIENCE: Final = 90.0
_POLL: Final = 0.05
#: Numbers of the Kafka protocol (ResourceType, AclOperation, PatternType, AclPermissionType).
_KINDS: Final = {"topic": 2, "group": 3, "cluster": 4, "transactional id": 5}
_OPERATIONS: Final = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
_LITERAL, _PREFIXED = 3, 4
_DENY, _ALLOW = 2, 3
#: Whom certificates name, as `ssl.principal.mapping.rules` cuts it out of their subject.
_BY_COMMON_NAME: Final = "RULE:^.*CN=([^,]+).*$/$1/"

#: What one node and an impatient test need; the rest is Kafka's default.
_SMALL: Final = {
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "4",
    "log.cleaner.dedupe.buffer.size": str(32 << 20),
}


class CreateAcls(Request[CreateAclsRequest_v1]):  # type: ignore[misc]
    """aiokafka's own takes one ACL a request."""

    API_KEY = 30

    def __init__(self, principal: str, rights: Iterable[Right], permission: int) -> None:
        self._creations = [
            (
                _KINDS[right.kind],
                right.name or "kafka-cluster",
                _PREFIXED if right.prefixed else _LITERAL,
                f"User:{principal}",
                "*",
                _OPERATIONS[right.operation],
                permission,
            )
            for right in rights
        ]

    def build(self, request_struct_class: type[CreateAclsRequest_v1]) -> CreateAclsRequest_v1:
        """Make the request that goes over the wire."""
        return request_struct_class(self._creations)


class SecuredKafka:
    """One broker with StandardAuthorizer; whoever has no ACL may nothing, but for the super user `admin`."""

    def __init__(self, folder: Path, users: Iterable[str], tokens: TokenServer | None = None) -> None:
        """Nothing is started. `users` get SCRAM credentials, each a password of its own; with `tokens`, one
        listener takes those of this server.
        """
        self.folder = folder
        self._passwords = {user: secrets.token_urlsafe(12) for user in (ADMIN, *users)}
        self._ca = trustme.CA()
        self._ports = [free_port() for _ in range(4)]
        self._tokens = tokens
        self._process: subprocess.Popen[bytes] | None = None

    def scram(self, user: str) -> dict[str, Any]:
        """Settings that connect as `user` with its password."""
        secret = self.folder / f"{user}.password"
        secret.write_text(self._passwords[user] + "\n", encoding="utf-8")
        secret.chmod(0o600)
        return {
            "bootstrap_servers": f"{LOOPBACK}:{self._ports[0]}",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": user,
            "sasl_password_file": secret,
            "ssl_cafile": self.ca_file,
        }

    def certificate(self, user: str, password: str | None = None) -> dict[str, Any]:
        """Settings that connect as `user` with a client certificate, its key under `password` if one is given."""
        issued = self._ca.issue_cert(f"{user}.example", common_name=user)
        chain, key = self.folder / f"{user}.crt", self.folder / f"{user}.key"
        chain.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        key.write_bytes(_private_key(issued, password))
        settings: dict[str, Any] = {
            "bootstrap_servers": f"{LOOPBACK}:{self._ports[1]}",
            "security_protocol": "SSL",
            "ssl_cafile": self.ca_file,
            "ssl_certfile": chain,
            "ssl_keyfile": key,
        }
        if password is not None:
            settings["ssl_key_password_file"] = self.folder / f"{user}.key-password"
            settings["ssl_key_password_file"].write_text(password + "\n", encoding="utf-8")
        return settings

    def oauth(self, client_id: str) -> dict[str, Any]:
        """Settings that connect with tokens of a client that the token server knows."""
        assert self._tokens is not None
        return {
            "bootstrap_servers": f"{LOOPBACK}:{self._ports[3]}",
            "security_protocol": "SASL_SSL",
            "ssl_cafile": self.ca_file,
            **self._tokens.settings(client_id),
        }

    def admin(self, **given: Any) -> Settings:
        """Settings of the super user."""
        return Settings(_env_file=None, **self.scram(ADMIN), **given)  # type: ignore[call-arg]

    @property
    def ca_file(self) -> Path:
        """The authority that signed the broker's certificate and those of clients."""
        return self.folder / "ca.pem"

    async def grant(self, principal: str, rights: Iterable[Right], *, deny: bool = False) -> None:
        """Create ACLs, by the super user; one that denies counts for more than all that allow."""
        client = AIOKafkaAdminClient(**client_options(self.admin()))
        await client.start()
        try:
            response = await client._send_request(CreateAcls(principal, rights, _DENY if deny else _ALLOW))
            assert not any(code for code, _ in response.creation_responses), response
        finally:
            await client.close()

    def start(self) -> None:
        """Start and return when the super user is answered."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("logs", "tmp"):
            (self.folder / name).mkdir()
        server = self._ca.issue_cert("localhost", LOOPBACK)
        self._ca.cert_pem.write_to_path(self.ca_file)
        chain = b"".join(part.bytes() for part in server.cert_chain_pems)
        (self.folder / "server.pem").write_bytes(_private_key(server) + chain)
        (self.folder / "server.properties").write_text(self._properties(), encoding="ascii")
        log = broker.log_config(kafka_versions()[-1])
        (self.folder / log.file).write_text(log.content, encoding="ascii")
        java, jars = find_java(), kafka_jars()
        use_archive, _ = archive_flags(archive_folder(java, jars, cache_folder()))
        jvm = [str(java), "-XX:+UseSerialGC", *use_archive, log.option]
        if self._tokens is not None:
            jvm.append(f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self._tokens.jwks_url}")
        environment = {**os.environ, "CLASSPATH": os.pathsep.join(map(str, jars))}
        users = [f"SCRAM-SHA-512=[name={user},password={word}]" for user, word in self._passwords.items()]
        cluster = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode().replace("-", "A")
        tool = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", "server.properties"]
        scram = [word for user in users for word in ("--add-scram", user)]
        subprocess.run(
            [*jvm, "-XX:TieredStopAtLevel=1", *tool, *scram],
            cwd=self.folder,
            env=environment,
            check=True,
            capture_output=True,
        )
        with (self.folder / "logs" / "console.log").open("wb") as console:
            self._process = subprocess.Popen(
                [*jvm, "-Xmx512m", "kafka.Kafka", "server.properties"],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _PATIENCE
        while is_free(self._ports[0]) and self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(_POLL)
        asyncio.run(self._until_ready(deadline))

    def stop(self) -> None:
        """End it; its data are of no use to anybody."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def _until_ready(self, deadline: float) -> None:
        assert self._process is not None
        while True:
            try:
                async with open_session(self.admin()) as session:
                    if await session.cluster.brokers():
                        return
            except BrokerUnavailable:
                if time.monotonic() > deadline:
                    raise
            assert self._process.poll() is None, (self.folder / "logs" / "console.log").read_text(encoding="utf-8")
            await asyncio.sleep(_POLL)

    def _properties(self) -> str:
        scram, mutual, controller, oauth = (f"{LOOPBACK}:{port}" for port in self._ports)
        more = f",OAUTH://{oauth}" if self._tokens else ""
        login = "org.apache.kafka.common.security.scram.ScramLoginModule"
        settings = {
            "process.roles": "broker,controller",
            "node.id": str(broker.NODE_ID),
            "controller.quorum.voters": f"{broker.NODE_ID}@{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"SCRAM://{scram},MUTUAL://{mutual},CONTROLLER://{controller}{more}",
            "advertised.listeners": f"SCRAM://{scram},MUTUAL://{mutual}{more}",
            "listener.security.protocol.map": "SCRAM:SASL_SSL,MUTUAL:SSL,CONTROLLER:PLAINTEXT,OAUTH:SASL_SSL",
            "inter.broker.listener.name": "SCRAM",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.scram.scram-sha-512.sasl.jaas.config": (
                f'{login} required username="{ADMIN}" password="{self._passwords[ADMIN]}";'
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": "server.pem",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": "ca.pem",
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.principal.mapping.rules": _BY_COMMON_NAME,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # ANONYMOUS is who comes by the controller's listener, which no client knows: the broker itself.
            "super.users": f"User:{ADMIN};User:ANONYMOUS",
            "log.dirs": broker.LOG_DIR,
            **(_of_tokens(self._tokens) if self._tokens else {}),
            **_SMALL,
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


def _of_tokens(tokens: TokenServer) -> dict[str, str]:
    """The listener that takes tokens: signed by this server, for these brokers, not over."""
    package = "org.apache.kafka.common.security.oauthbearer"
    return {
        "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.oauth.oauthbearer.sasl.jaas.config": f"{package}.OAuthBearerLoginModule required;",
        "listener.name.oauth.oauthbearer.sasl.server.callback.handler.class": (
            f"{package}.OAuthBearerValidatorCallbackHandler"
        ),
        "listener.name.oauth.sasl.oauthbearer.jwks.endpoint.url": tokens.jwks_url,
        "listener.name.oauth.sasl.oauthbearer.expected.audience": AUDIENCE,
        "listener.name.oauth.sasl.oauthbearer.expected.issuer": tokens.issuer,
    }


def _private_key(issued: trustme.LeafCert, password: str | None = None) -> bytes:
    """The key as PKCS #8, the one form that Kafka reads."""
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    encryption = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
