"""Whether a request comes from its source: addresses, tokens, passwords, signatures. Secrets are files, one a line."""

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping, Sequence
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Final

from transfer_gate.errors import InvalidInput
from transfer_gate.ingest import standard_webhooks
from transfer_gate.ingest.source import SourceFile

Network = IPv4Network | IPv6Network

#: How long an access token of `client_credentials` is accepted, seconds.
TOKEN_SECONDS: Final = 3600
#: Shortest token or password, characters: what can be guessed proves nothing.
_SHORTEST: Final = 16
FORWARDED: Final = "x-forwarded-for"


class Proxies:
    """Reverse proxies whose `X-Forwarded-For` is believed."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ip_network(network) for network in networks]

    def client(self, peer: str | None, headers: Mapping[str, str]) -> str | None:
        """The address that a request comes from: the last one that is no proxy of ours. None where it is not known."""
        address = _canonical(peer)
        hops = headers.get(FORWARDED, "").split(",")
        while address is not None and _within(address, self._networks) and hops:
            hop = hops.pop().strip()
            if not hop:
                break
            address = _canonical(hop)
        return address


class Authenticator:
    """Checks the requests of one source. Everything that its file asks for has to hold."""

    def __init__(self, file: SourceFile, folder: Path) -> None:
        """Read the secrets. Raises InvalidInput when one is missing, too short or not of its form."""
        given = file.source.authentication
        self._source = file.name
        self._networks = [ip_network(network) for network in given.addresses]
        self._challenge = ""
        self._accepted: list[bytes] = []
        self._client_keys: list[bytes] = []
        self._clients: list[bytes] = []
        self._keys: list[bytes] = []
        self._tolerance = 0
        if given.bearer is not None:
            self._challenge = "Bearer"
            tokens = _secrets(folder / given.bearer.token_file)
            self._accepted = [_digest(f"Bearer {token}") for token in tokens]
        if given.basic is not None:
            self._challenge = 'Basic realm="transfer-gate", charset="UTF-8"'
            passwords = _secrets(folder / given.basic.password_file)
            self._accepted = [_digest(_basic(given.basic.username, password)) for password in passwords]
        if given.client_credentials is not None:
            self._challenge = "Bearer"
            client = given.client_credentials
            for secret in _secrets(folder / client.secret_file):
                self._clients.append(_digest(_basic(client.client_id, secret)))
                self._client_keys.append(sha256(f"{self._source}:{client.client_id}:{secret}".encode()).digest())
        if given.standard_webhooks is not None:
            path = folder / given.standard_webhooks.secret_file
            self._tolerance = given.standard_webhooks.tolerance_seconds
            try:
                self._keys = [standard_webhooks.key_of(secret) for secret in _secrets(path)]
            except ValueError as error:
                raise InvalidInput(f"a secret in {path} {error}", do="write one whsec_… a line") from None

    @property
    def issues_tokens(self) -> bool:
        """Whether the source gets access tokens from us."""
        return bool(self._clients)

    def challenge(self) -> dict[str, str]:
        """Headers of an answer that asks for credentials (RFC 9110, section 11.6.1)."""
        return {"www-authenticate": self._challenge} if self._challenge else {}

    def fault_in_head(self, address: str | None, headers: Mapping[str, str], now: float) -> str | None:
        """What is wrong before the body is read: `address`, `credentials`, or None. `now`: seconds of Unix time."""
        if self._networks and (address is None or not _within(address, self._networks)):
            return "address"
        authorization = headers.get("authorization", "")
        if self._accepted and not _one_of(_digest(authorization), self._accepted):
            return "credentials"
        if self._client_keys and not self._is_token(authorization.removeprefix("Bearer "), now):
            return "credentials"
        return None

    def fault_in_body(self, headers: Mapping[str, str], body: bytes, now: float) -> str | None:
        """What is wrong with the signature: `signature`, `replay-window`, or None."""
        if not self._keys:
            return None
        return standard_webhooks.fault_in(self._keys, headers, body, now, self._tolerance)

    def token(self, address: str | None, client_id: str, secret: str, now: float) -> str | None:
        """An access token for a client that knows its secret (RFC 6749, section 4.4), else None."""
        if self._networks and (address is None or not _within(address, self._networks)):
            return None
        if not _one_of(_digest(_basic(client_id, secret)), self._clients):
            return None
        # By the newest secret, which stands first: the others are accepted until they are taken out of the file.
        return _token(self._client_keys[0], int(now) + TOKEN_SECONDS)

    def _is_token(self, token: str, now: float) -> bool:
        written = token.partition(".")[0]
        if not written.isascii() or not written.isdecimal() or len(written) > 12:
            return False
        genuine = _one_of(token.encode(), [_token(key, int(written)).encode() for key in self._client_keys])
        return genuine and now < int(written)


def credentials_in(authorization: str) -> tuple[str, str] | None:
    """User name and password of `Authorization: Basic …`, None where it is none."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None


def _token(key: bytes, expires: int) -> str:
    seal = base64.urlsafe_b64encode(hmac.digest(key, str(expires).encode(), sha256)).decode().rstrip("=")
    return f"{expires}.{seal}"


def _secrets(path: Path) -> list[str]:
    try:
        found = [line for line in path.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"the secret {path} can't be read: {type(error).__name__}", do="set TRANSFER_GATE_INGEST_SECRETS"
        ) from None
    if not found:
        raise InvalidInput(f"the secret {path} is empty", do="write one secret a line into it")
    if any(len(line) < _SHORTEST for line in found):
        raise InvalidInput(
            f"a secret in {path} has fewer than {_SHORTEST} characters", do="make one: openssl rand -base64 32"
        )
    return found


def _basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def _digest(text: str) -> bytes:
    """So that neither length nor content of what is compared shows in the time that it takes."""
    return hmac.digest(_COMPARED, text.encode(errors="surrogateescape"), sha256)


_COMPARED: Final = secrets.token_bytes(32)


def _one_of(given: bytes, accepted: Sequence[bytes]) -> bool:
    return any([hmac.compare_digest(given, one) for one in accepted])  # noqa: C419 - every one is compared


def _canonical(address: str | None) -> str | None:
    """An address without what a proxy may add; None where it is none."""
    if address is None:
        return None
    try:
        found = ip_address(address.strip("[]"))
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)


def _within(address: str, networks: Sequence[Network]) -> bool:
    found = ip_address(address)
    return any(found.version == network.version and found in network for network in networks)
