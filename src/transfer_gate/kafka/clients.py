"""How every Kafka client of the gate connects: brokers, TLS and SASL, from the settings."""

import asyncio
import errno
import logging
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError
from aiokafka.errors import KafkaTimeoutError as BrokerTimeout
from aiokafka.protocol.metadata import MetadataRequest

from transfer_gate.errors import GateError, InvalidInput
from transfer_gate.kafka import unpacking as _bounded_unpacking  # noqa: F401 - every consumer unpacks in this way
from transfer_gate.kafka.access import secret_of, trusting
from transfer_gate.kafka.token_sources import provider_of
from transfer_gate.kafka.tokens import MECHANISM
from transfer_gate.settings import PREFIX, TOKEN_MECHANISMS, Settings

# A question about a topic must not create it (`auto.create.topics.enable`): aiokafka's clients, and with them Faust's,
# leave this open in every request for metadata, and then it means yes; tests/unit/kafka/test_clients.py holds it.
MetadataRequest.__init__.__defaults__ = (None, False)  # topics, allow_auto_topic_creation

#: How long a broker may take to answer the end of TLS, seconds.
_TLS_END_SECONDS: Final = 0.5
_close = AIOKafkaConnection.close


def _close_soon(self: AIOKafkaConnection, reason: Any = None, exc: BaseException | None = None) -> Any:
    """Close a connection without waiting for more than a moment until the broker ends TLS, too.

    A broker that is busy with an abandoned request (a fetch) leaves the end of TLS unanswered, and event loops wait
    30 s for it (`ssl_shutdown_timeout`), within the stop of every client.
    """
    writer = self._writer
    closed = _close(self, reason=reason, exc=exc)
    if writer is not None:
        self._loop.call_later(_TLS_END_SECONDS, writer.transport.abort)
    return closed


AIOKafkaConnection.close = _close_soon

#: File descriptors that must be free to take partitions over: a few connections.
DESCRIPTORS: Final = 16
#: How long the fetcher of a consumer may take to end, seconds, before it is cancelled again.
_STOP_SECONDS: Final = 1.0

Client = TypeVar("Client", AIOKafkaProducer, AIOKafkaConsumer)


def passes(error: BaseException) -> bool:
    """Whether it is worth asking again after this error of a client: brokers are away, or busy electing."""
    if isinstance(error, KafkaError):
        return error.retriable or isinstance(error, BrokerTimeout)
    return isinstance(error, ConnectionError)


def client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments with which any aiokafka client reaches the cluster of `settings`.

    aiokafka talks in clear when it is given credentials but no TLS context, so the context is made here for every
    protocol that has TLS in its name, with host names checked (RFC 9525). A token provider, where one is needed, is the
    same for all clients of this process.

    Raises InvalidInput when a password, a certificate or the CA file can't be used, or SASL is asked for but not
    complete.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
        "client_id": settings.app_id,
    }
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = _tls(settings)
    if settings.security_protocol.startswith("SASL") and settings.sasl_mechanism in TOKEN_MECHANISMS:
        options["sasl_mechanism"] = MECHANISM
        options["sasl_oauth_token_provider"] = provider_of(settings)
    elif settings.security_protocol.startswith("SASL"):
        if settings.sasl_mechanism is None or not settings.sasl_username or settings.sasl_password_file is None:
            raise InvalidInput(
                f"{settings.security_protocol} without mechanism, user name or password",
                do=f"set {PREFIX}SASL_MECHANISM, {PREFIX}SASL_USERNAME and {PREFIX}SASL_PASSWORD_FILE",
            )
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = secret_of(settings.sasl_password_file, "SASL_PASSWORD_FILE")
    return options


def require_descriptors() -> None:
    """Hold that this process may still connect: without file descriptors every broker looks as if it were away.

    Raises GateError, so that a worker gives its partitions to others instead of waiting for a cluster that is there.
    """
    opened: list[int] = []
    try:
        for _ in range(DESCRIPTORS):
            opened.append(os.open(os.devnull, os.O_RDONLY))  # noqa: PERF401 - those that did open must be closed
    except OSError as error:
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            raise GateError(
                "no file descriptors are left for connections",
                do="raise the limit (ulimit -n, LimitNOFILE), then start again; nothing is lost",
            ) from None
        raise
    finally:
        for descriptor in opened:
            os.close(descriptor)


def silence_clients() -> None:
    """Keep aiokafka's own log lines away from the user of a command, to whom an error says once what happened."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


@asynccontextmanager
async def keep_cancellation() -> AsyncIterator[None]:
    """Raise CancelledError at the end if the task was cancelled within, and that was swallowed: where aiokafka stops a
    client it waits for tasks that it has cancelled, and takes a cancellation of the caller (Ctrl-C) for theirs.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    yield
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError


@asynccontextmanager
async def connected(client: Client) -> AsyncIterator[Client]:
    """A client while it is started. It is stopped also when it could not start: aiokafka warns of every client
    that is thrown away unstopped.
    """
    try:
        await client.start()
        yield client
    finally:
        if isinstance(client, AIOKafkaConsumer):
            await stop_consumer(client)
        else:
            async with keep_cancellation():
                await client.stop()


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer, also when the caller is cancelled meanwhile.

    The fetcher of aiokafka 0.14 swallows a cancellation that comes while it ends the tasks of an assignment that was
    just replaced, and `stop` would wait for it for ever: then the cancellation is repeated.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    cancelled = False
    while not stopping.done():
        try:
            await asyncio.wait({stopping}, timeout=_STOP_SECONDS)
        except asyncio.CancelledError:
            cancelled = True
        if not stopping.done() and (fetcher := consumer._fetcher) is not None:
            fetcher._fetch_task.cancel()
    if cancelled:
        raise asyncio.CancelledError
    await stopping


def _tls(settings: Settings) -> ssl.SSLContext:
    context = trusting(settings.ssl_cafile, "SSL_CAFILE")
    if settings.ssl_certfile is None:
        return context
    # Without a password OpenSSL would ask for one on the terminal, and a worker would wait for ever.
    password = ""
    if settings.ssl_key_password_file is not None:
        password = secret_of(settings.ssl_key_password_file, "SSL_KEY_PASSWORD_FILE")
    try:
        context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile, password)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(
            f"{PREFIX}SSL_CERTFILE {settings.ssl_certfile} with {PREFIX}SSL_KEYFILE {settings.ssl_keyfile} "
            f"can't be used: {error.strerror or error}",
            do=f"give PEM files that belong together, and {PREFIX}SSL_KEY_PASSWORD_FILE if the key has a password",
        ) from error
    return context
