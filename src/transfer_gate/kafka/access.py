"""Access to the cluster: what a worker must be allowed to do (docs/reference/access.md), and why a cluster refuses the
gate, in plain words: rights that are missing, credentials and certificates that fail.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
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

from transfer_gate.errors import BrokerUnavailable, GateError
from transfer_gate.kafka.catalogue import Role, TopicSpec
from transfer_gate.kafka.tokens import TokenUnavailable, what_to_do
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
_INPUT: Final = frozenset({"Read", "DescribeConfigs"})
_OUTPUT: Final = frozenset({"Write", "DescribeConfigs"})
#: A worker has nothing to do with the audit topic.
_NEEDED: Final[Mapping[Role, frozenset[str]]] = {
    "transfers": _INPUT,
    "consents": _INPUT,
    "replay": _INPUT,
    "strays": _INPUT | _OUTPUT,
    "changelog": _INPUT | _OUTPUT,
    "ledger": _INPUT | _OUTPUT,
    "quarantine": _OUTPUT,
    "decisions": _INPUT | _OUTPUT,
    "partner": _OUTPUT,
}
#: How long one broker may take to say why it closes the connection, seconds.
_KNOCK_SECONDS: Final = 3.0


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
        raise BrokerUnavailable(
            f"no answer from the Kafka cluster at {servers} ({why})",
            do=what_to_do(options)
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
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS fails: {error.reason or type(error).__name__}; does that port speak {protocol}?"
    if isinstance(error, SaslAuthenticationFailed):
        return f"it refuses the user {options['sasl_plain_username']} or the password"
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"it does not offer {options['sasl_mechanism']}"
    if isinstance(error, KafkaConnectionError):
        return f"it closes the connection: that port may not speak {protocol}, or want a client certificate"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return f"no answer within {_KNOCK_SECONDS:g} s"
    return type(error).__name__


def refusals(specs: Iterable[TopicSpec], given: Mapping[str, frozenset[str]]) -> list[str]:
    """Every right that a worker lacks, as `Write on partner.acme`; `given` as `Cluster.rights` returns it."""
    return [
        f"{', '.join(sorted(missing))} on topic {spec.name}"
        for spec in specs
        if spec.name in given and (missing := _NEEDED.get(spec.role, frozenset()) - given[spec.name])
    ]


def require_rights(specs: Iterable[TopicSpec], given: Mapping[str, frozenset[str]]) -> None:
    """Raise AccessDenied that names every right which is missing.

    Asked before the first record: a right that only a restore or a rare record needs is missed in the worst hour.
    """
    missing = refusals(specs, given)
    if missing:
        raise AccessDenied(
            f"the broker refuses access: the gate's principal lacks {'; '.join(missing)}",
            do="grant it the rights listed in docs/reference/access.md",
        )
