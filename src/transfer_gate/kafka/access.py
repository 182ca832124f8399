"""Access to the cluster: secrets and certificates from files of the settings, and why a cluster refuses the gate, in
plain words: rights that are missing, credentials and certificates that fail. No message repeats what a file holds.
"""

import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.errors import KafkaTimeoutError as BrokerTimeout

from transfer_gate.errors import BrokerUnavailable, GateError, InvalidInput
from transfer_gate.kafka.tokens import TokenProvider, TokenUnavailable
from transfer_gate.settings import PREFIX

#: What an unreachable cluster raises inside aiokafka, whichever client sent the request.
UNREACHABLE: Final = (
    KafkaConnectionError, BrokerTimeout, NodeNotReadyError, AuthenticationFailedError, ConnectionError,
)  # fmt: skip

#: What aiokafka raises, before anything is sent, for a request that the brokers do not know, or in no version that it
#: knows itself.
NOT_OFFERED: Final = (IncompatibleBrokerVersion, NotImplementedError)

#: Codes by which a broker reports that an ACL is missing.
DENIED: Final = (
    TransactionalIdAuthorizationFailed,
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    ClusterAuthorizationFailedError,
)
Resource = Literal["topic", "group", "transactional id", "cluster"]
_RESOURCES: Final[Mapping[type[KafkaError], Resource]] = {
    TransactionalIdAuthorizationFailed: "transactional id",
    TopicAuthorizationFailedError: "topic",
    GroupAuthorizationFailedError: "group",
    ClusterAuthorizationFailedError: "cluster",
}
#: How long one broker may take to say why it closes the connection, seconds.
_KNOCK_SECONDS: Final = 3.0


def secret_of(file: Path, name: str) -> str:
    """What a secret's file holds, without the end of its line; `name` is its setting. Raises InvalidInput."""
    try:
        secret = file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{PREFIX}{name} {file} can't be read: {type(error).__name__}", do="check path and rights"
        ) from error
    if not secret:
        raise InvalidInput(f"{PREFIX}{name} {file} is empty", do="write the secret into it")
    return secret


def trusting(cafile: Path | None, name: str) -> ssl.SSLContext:
    """TLS with host names checked (RFC 9525), by the authorities of `cafile`, or the system's; `name` is its setting.

    Raises InvalidInput.
    """
    try:
        return ssl.create_default_context(cafile=cafile)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(
            f"{PREFIX}{name} {cafile} can't be used: {error.strerror or error}",
            do="give a PEM file with the certificates of the authorities",
        ) from error


@asynccontextmanager
async def broker_errors(options: Mapping[str, Any]) -> AsyncIterator[None]:
    """Turn what aiokafka raises when the cluster of a client's `options` can't be reached into one message.

    Raises BrokerUnavailable instead of connection, time-out and authentication errors, AccessDenied where an ACL is
    missing, NotOffered where the brokers do not know a request.
    """
    servers = options["bootstrap_servers"]
    try:
        yield
    except UNREACHABLE as error:
        why = await why_unreachable(options) or type(error).__name__
        provider: TokenProvider | None = options.get("sasl_oauth_token_provider")
        raise BrokerUnavailable(
            f"no answer from the Kafka cluster at {servers} ({why})",
            do=(provider.what_to_do if provider is not None else "")
            or f"check {PREFIX}BOOTSTRAP_SERVERS and {PREFIX}SECURITY_PROTOCOL, or run: transfer-gate kafka start",
        ) from error
    except NOT_OFFERED as error:
        raise NotOffered(
            f"the Kafka cluster at {servers} does not offer a request that is needed: {error}",
            do="see docs/reference/kafka-releases.md for the releases that the gate is tested with",
        ) from error
    except KafkaError as error:
        if isinstance(error, DENIED):
            raise denied(error) from error
        raise BrokerUnavailable(
            f"the Kafka cluster at {servers} refused a request: {error}",
            do="read the broker's log; `transfer-gate doctor` checks what the gate needs",
        ) from error


class NotOffered(BrokerUnavailable):
    """The brokers do not know a request, or in no version that is known here."""


class AccessDenied(GateError):
    """The broker's ACLs refuse the gate something that it needs."""


def resource_of(error: type[KafkaError]) -> Resource:
    """What kind of thing an error of DENIED is about."""
    return _RESOURCES[error]


def access_denied(operation: str, resource: Resource, names: Iterable[str]) -> AccessDenied:
    """The error that names the right which is missing; `operation` as Kafka's ACLs call it."""
    listed = ", ".join(sorted(names))
    return AccessDenied(
        f"the broker refuses access: the gate's principal lacks {operation} on {resource} {listed}".rstrip(),
        do="grant it the rights listed in docs/reference/access.md",
    )


def denied(error: KafkaError, operation: str = "a right") -> AccessDenied:
    """The same from an error of DENIED that aiokafka raised; its consumer names the topic or the group in it."""
    names = {str(name) for arg in error.args for name in (arg if isinstance(arg, (set, frozenset, list)) else (arg,))}
    return access_denied(operation, resource_of(type(error)), names)


async def why_unreachable(options: Mapping[str, Any]) -> str:
    """Connect once more to each broker of a client's `options` and return what goes wrong; empty when nothing does.

    aiokafka logs the reason and raises that it "can't bootstrap". No password and no certificate is repeated.
    """
    rest = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    reason = ""
    for server in str(options["bootstrap_servers"]).split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            connection = await create_conn(
                host.strip("[]"), int(port), request_timeout_ms=int(_KNOCK_SECONDS * 1000), **rest
            )
        except (OSError, KafkaError, ValueError, TimeoutError) as error:
            reason = _in_words(error, options)
        else:
            connection.close()
            return ""
    return reason


def _in_words(error: Exception, options: Mapping[str, Any]) -> str:
    protocol = options["security_protocol"]
    if isinstance(error, TokenUnavailable):
        return error.message
    if isinstance(error, SaslAuthenticationFailed):
        return f"it refuses the user {options['sasl_plain_username']} or the password"
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"it does not offer {options['sasl_mechanism']}"
    if isinstance(error, KafkaConnectionError):
        return f"it closes the connection: that port may not speak {protocol}, or want a client certificate"
    tls = isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLCertVerificationError)
    return in_words(error, _KNOCK_SECONDS) + (f"; does that port speak {protocol}?" if tls else "")


def in_words(error: Exception, timeout: float) -> str:
    """Why no connection could be made, by an error of the network or of TLS; `timeout`: how long, seconds."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS fails: {error.reason or type(error).__name__}"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return type(error).__name__
