"""How connections log in with a token (RFC 7628), and again before the brokers' patience with it ends (KIP-368).

aiokafka 0.14 takes a refused token for an accepted one, because the brokers' challenge is not read; and it never logs
in again, so that brokers cut every connection when its token ends, amid transactions. Importing this module changes how
aiokafka's connections log in by OAUTHBEARER, those of Faust included. `kafka.clients` imports it.
"""

import asyncio
import contextlib
import json
import logging
import random
import weakref
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import errors as kafka
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslHandShakeRequest

from transfer_gate.kafka.tokens import TokenProvider, TokenUnavailable

logger = logging.getLogger(__name__)

MECHANISM: Final = "OAUTHBEARER"
#: A connection logs in again when a share between these of its session has passed.
AGAIN_AT: Final = (0.8, 0.9)
#: Brokers refuse a client that logs in again within a second (KIP-368).
LEAST_SECONDS: Final = 1.1
_CLOSE_SECONDS: Final = 1.0
#: What a client answers to the challenge of a refusal (RFC 7628, section 3.2.3).
_UNDERSTOOD: Final = b"\x01"

_log_in_otherwise: Final = AIOKafkaConnection._do_sasl_handshake
#: Tasks that log in again; the event loop keeps weak references only.
_again: Final[set[asyncio.Task[None]]] = set()


def message(token: str, extensions: Mapping[str, str]) -> bytes:
    """The client's first and only message."""
    pairs = "".join(f"\x01{name}={value}" for name, value in extensions.items())
    return f"n,,\x01auth=Bearer {token}{pairs}\x01\x01".encode()


async def _log_in(connection: AIOKafkaConnection) -> None:
    provider = connection._sasl_oauth_token_provider
    if connection._sasl_mechanism != MECHANISM or not isinstance(provider, TokenProvider):
        await _log_in_otherwise(connection)
        return
    try:
        token = await provider.token()
        _require_offered(await connection.send(SaslHandShakeRequest(MECHANISM)))
        request = SaslAuthenticateRequest(message(token, provider.extensions()))
        await _answered(connection, provider, token, await connection.send(request))
    except TokenUnavailable:
        # A command ends with this error, and its event loop with an open socket unless it is waited for.
        await asyncio.wait({connection.close(reason=CloseReason.AUTH_FAILURE)}, timeout=_CLOSE_SECONDS)
        raise


async def _log_in_again(connection: AIOKafkaConnection) -> None:
    provider: TokenProvider = connection._sasl_oauth_token_provider
    try:
        token = await provider.token()
    except kafka.KafkaConnectionError:
        _schedule(connection, 2 * LEAST_SECONDS)  # brokers cut the connection when the old token ends
        return
    if not connection.connected():
        return
    # Both are written before any other request can be: between them brokers take nothing else.
    handshake = connection.send(SaslHandShakeRequest(MECHANISM))
    answer = connection.send(SaslAuthenticateRequest(message(token, provider.extensions())))
    try:
        shaken, answered = await asyncio.gather(handshake, answer)
        _require_offered(shaken)
        await _answered(connection, provider, token, answered)
    except (kafka.KafkaError, OSError, TimeoutError) as error:
        logger.warning("a connection to Kafka could not log in again", extra={"error": str(error)})
        connection.close(reason=CloseReason.AUTH_FAILURE, exc=kafka.KafkaConnectionError(type(error).__name__))


def _require_offered(response: Any) -> None:
    if response.error_code:
        raise kafka.UnsupportedSaslMechanismError(f"the brokers do not offer {MECHANISM}")


async def _answered(connection: AIOKafkaConnection, provider: TokenProvider, token: str, response: Any) -> None:
    if response.error_code or response.sasl_auth_bytes:
        status = _status(response)
        if not response.error_code:
            with contextlib.suppress(kafka.KafkaError, OSError, TimeoutError):
                await connection.send(SaslAuthenticateRequest(_UNDERSTOOD))
        raise provider.refused(token, status)
    provider.accepted()
    lifetime = getattr(response, "session_lifetime_ms", 0) / 1000
    if lifetime > 0:
        _schedule(connection, random.uniform(*AGAIN_AT) * lifetime)


def _status(response: Any) -> str:
    """What the brokers say of a token that they refuse: `invalid_token`, as a rule."""
    try:
        return str(json.loads(response.sasl_auth_bytes)["status"])
    except (ValueError, KeyError, TypeError):
        name: str = kafka.for_code(response.error_code).__name__
        return name


def _schedule(connection: AIOKafkaConnection, seconds: float) -> None:
    asyncio.get_running_loop().call_later(max(seconds, LEAST_SECONDS), _due, weakref.ref(connection))


def _due(reference: "weakref.ref[AIOKafkaConnection]") -> None:
    connection = reference()
    if connection is not None and connection.connected():
        task = asyncio.create_task(_log_in_again(connection), name="log in again")
        _again.add(task)
        task.add_done_callback(_again.discard)


AIOKafkaConnection._do_sasl_handshake = _log_in
