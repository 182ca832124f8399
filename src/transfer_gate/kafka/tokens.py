"""Log in to Kafka with tokens (SASL OAUTHBEARER, RFC 7628): one provider of them for a process, which fetches them anew
in time; and how every connection logs in with them, and again before its session with the broker ends (KIP-368).

aiokafka 0.14 takes a refused token for an accepted one, because the brokers' challenge is not read; and it never logs
in again, so that brokers cut every connection when its token ends, amid transactions. Importing this module changes how
aiokafka's connections log in by OAUTHBEARER, those of Faust included.
"""

import asyncio
import base64
import binascii
import contextlib
import json
import logging
import random
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, Protocol

from aiokafka import errors as kafka
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslHandShakeRequest

logger = logging.getLogger(__name__)

MECHANISM: Final = "OAUTHBEARER"
#: A connection logs in again when a share between these of its session has passed.
AGAIN_AT: Final = (0.8, 0.9)
#: Brokers refuse a client that logs in again within a second (KIP-368).
LEAST_SECONDS: Final = 1.1
_CLOSE_SECONDS: Final = 1.0
#: What a client answers to the challenge of a refusal (RFC 7628, section 3.2.3).
_UNDERSTOOD: Final = b"\x01"
#: A new token is fetched when this share of the life of the present one has passed: before connections log in again
#: (AGAIN_AT), else they would with a token that is about to end.
RENEW_AT: Final = 0.6
#: So long before its end a token is not shown any more, seconds, or this share of its life: it must arrive.
LAST_MOMENT: Final = 5.0
_LAST_SHARE: Final = 0.05
#: Waits between attempts grow from the first to the longest, seconds; each is shortened by chance, so that the workers
#: of a fleet don't come at once.
FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 30.0
#: How long a caller waits for a token, seconds.
ANSWER_SECONDS: Final = 15.0
#: Characters of a claim that a message repeats.
_CLAIM_LENGTH: Final = 200


class TokenUnavailable(kafka.KafkaConnectionError):  # type: ignore[misc]  # aiokafka is untyped
    """There is no token, or the brokers refuse it: for a client that is as if they were away, so it tries again."""

    def __init__(self, message: str, *, do: str) -> None:
        super().__init__(message)
        self.message = message
        self.do = do

    def __str__(self) -> str:
        return self.message


class Token(NamedTuple):
    """What a source gave, and for how long it is good, seconds."""

    value: str
    lifetime: float


class TokenSource(Protocol):
    """Whom tokens come from."""

    @property
    def subject(self) -> str:
        """Who logs in, for messages."""
        ...

    @property
    def extensions(self) -> Mapping[str, str]:
        """SASL extensions that are shown with each token (RFC 7628)."""
        ...

    def fetch(self) -> Token:
        """A new token. Blocks; raises TokenUnavailable."""
        ...


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka is untyped
    """The token of this process, fetched anew in time; of any thread and event loop.

    While no new token can be had, the present one serves until its end. Then `token` raises what is wrong, at once
    between attempts, and attempts are further and further apart until brokers accept a token.

    Faust's consumer lives on an event loop of its own thread, so a provider belongs to no loop: what fetches is a
    thread.
    """

    def __init__(self, source: TokenSource, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._lock = threading.Lock()
        self._token: str | None = None
        self._renew = self._usable = 0.0
        self._fetching: Future[str] | None = None
        self._failure: TokenUnavailable | None = None
        self._wait = FIRST_WAIT
        self._next_try = 0.0

    async def token(self) -> str:
        """A token that is good. Raises TokenUnavailable."""
        with self._lock:
            now = self._clock()
            held = self._token if now < self._usable else None
            if held is not None and (now < self._renew or now < self._next_try):
                return held
            if self._failure is not None and now < self._next_try:
                raise TokenUnavailable(self._failure.message, do=self._failure.do)
            fetching = self._fetching or self._begin()
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(fetching)), ANSWER_SECONDS)
        except TimeoutError:
            error = TokenUnavailable(f"no token within {ANSWER_SECONDS:g} s", do="look at the token server")
        except TokenUnavailable as failed:
            error = TokenUnavailable(failed.message, do=failed.do)
        with self._lock:
            if self._token is not None and self._clock() < self._usable:
                return self._token
        raise error

    def extensions(self) -> Mapping[str, str]:
        """See AbstractTokenProvider."""
        return self._source.extensions

    @property
    def what_to_do(self) -> str:
        """What helps when no client can log in for want of a token; empty where a token is there."""
        return self._failure.do if self._failure is not None else ""

    def accepted(self) -> None:
        """A broker took the token: what was wrong is over."""
        with self._lock:
            self._wait = FIRST_WAIT

    def refused(self, token: str, status: str) -> TokenUnavailable:
        """A broker refused `token`: it is not shown again. Returns the error to raise; `status` as the broker says."""
        error = TokenUnavailable(
            f"the brokers refuse the token of {self._source.subject} ({_printable(status)}{_explained_by(token)})",
            do="compare audience, issuer and scope with what the brokers expect, and the clocks of all three",
        )
        with self._lock:
            if self._token in (None, token):
                self._token, self._usable = None, 0.0
                self._postpone(error)
        return error

    def _begin(self) -> "Future[str]":
        future: Future[str] = Future()
        self._fetching = future
        future.set_running_or_notify_cancel()  # so that no caller who gives up cancels it for the others
        threading.Thread(target=self._fetch, args=(future,), name="token", daemon=True).start()
        return future

    def _fetch(self, future: "Future[str]") -> None:
        try:
            token = self._source.fetch()
        except Exception as error:  # noqa: BLE001 - of whatever library; callers would wait for ever
            failure = (
                error
                if isinstance(error, TokenUnavailable)
                else TokenUnavailable(f"no token: {type(error).__name__}", do="look at the token server")
            )
            with self._lock:
                self._fetching = None
                first, held = self._failure is None, self._token is not None
                self._postpone(failure)
            if first and held:
                logger.warning("no new token to log in to Kafka with: trying again", extra={"error": failure.message})
            future.set_exception(failure)
            return
        with self._lock:
            now = self._clock()
            self._token = token.value
            self._renew = now + RENEW_AT * token.lifetime
            self._usable = now + token.lifetime - min(LAST_MOMENT, _LAST_SHARE * token.lifetime)
            self._fetching = self._failure = None
            self._next_try = 0.0
        future.set_result(token.value)

    def _postpone(self, failure: TokenUnavailable) -> None:
        self._failure = failure
        self._next_try = self._clock() + random.uniform(0.5, 1) * self._wait
        self._wait = min(self._wait * 2, LONGEST_WAIT)


def claims_of(token: str) -> dict[str, Any]:
    """Claims of a JWT, as it says them; empty for a token that is none. Nothing is decided by them."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, binascii.Error, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _explained_by(token: str) -> str:
    """What a token says of itself that explains a refusal: for whom it is, by whom, and whether it is over."""
    claims = claims_of(token)
    parts = [f"{name} {_printable(claims[name])}" for name in ("aud", "iss") if name in claims]
    expires = claims.get("exp")
    if isinstance(expires, (int, float)) and expires < time.time():
        parts.append(f"expired {time.time() - expires:.0f} s ago by the clock of this machine")
    return f"; it says: {', '.join(parts)}" if parts else ""


def _printable(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return "".join(character if character.isprintable() else "?" for character in text)[:_CLAIM_LENGTH]


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
