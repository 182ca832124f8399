"""The service as a process: HTTP for platforms, health and metrics for us, and an orderly end."""

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Iterator

import uvicorn

from transfer_gate.errors import InvalidInput
from transfer_gate.ingest.app import OF_NOBODY, OUTCOMES, UNREADABLE, Ingest, SourceEndpoint
from transfer_gate.ingest.authentication import Authenticator
from transfer_gate.ingest.publisher import open_publisher
from transfer_gate.ingest.source import SourceFile
from transfer_gate.observe.health import serve_health
from transfer_gate.observe.metrics import INGEST, INGEST_EVENTS, INGEST_REQUESTS
from transfer_gate.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

#: How long requests that are open may take at the end, seconds; the brokers have less for an acknowledgement.
_SHUTDOWN_SECONDS = 15
#: How many connections may wait to be accepted.
_BACKLOG = 2048


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn would raise them again at its end, and we exit 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield


async def run_ingest(settings: Settings, files: list[SourceFile], nobody: frozenset[str]) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish those that are open.

    `/readyz` is 200 once the brokers were reached. Raises InvalidInput when a secret, a certificate or a port can't be
    used, or the topic is not right; AccessDenied when the right to write it is missing.
    """
    authenticators = [Authenticator(file, settings.ingest_secrets) for file in files]
    config = _config(settings)
    opened = _listen(settings)
    async with open_publisher(settings) as (publisher, connecting):
        endpoints = [
            SourceEndpoint(file, authenticator, nobody, publisher)
            for file, authenticator in zip(files, authenticators, strict=True)
        ]
        for endpoint in endpoints:
            for outcome in OUTCOMES:
                INGEST_REQUESTS.labels(endpoint.name, outcome)  # a counter has to be there to be watched
            for became in (UNREADABLE, OF_NOBODY):
                INGEST_EVENTS.labels(endpoint.name, became)
        config.app = Ingest(settings, endpoints).app()
        server = _Server(config)
        health = serve_health(
            settings.metrics_host,
            settings.metrics_port,
            lambda: publisher.connected and server.started and not server.should_exit,
            why_not=lambda: "" if publisher.connected else "the brokers were not reached yet\n",
            registry=INGEST,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: setattr(server, "should_exit", True))
        # Ends where the topic is not right or the right to write it is missing; else once it is connected.
        connecting.add_done_callback(lambda task: _stop_if_failed(task, server))
        try:
            logger.info(
                "ingest starts at %s:%d: %s",
                settings.ingest_host,
                opened.getsockname()[1],
                ", ".join(endpoint.name for endpoint in endpoints),
            )
            await server.serve(sockets=[opened])
        finally:
            await health.close()
        if connecting.done() and not connecting.cancelled():
            connecting.result()
    logger.info("ingest stopped")


def _stop_if_failed(task: asyncio.Task[None], server: uvicorn.Server) -> None:
    if not task.cancelled() and task.exception() is not None:
        server.should_exit = True


def _config(settings: Settings) -> uvicorn.Config:
    if settings.ingest_certfile is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.ingest_certfile, settings.ingest_keyfile)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(
                f"{PREFIX}INGEST_CERTFILE with {PREFIX}INGEST_KEYFILE can't be used: {error.strerror or error}",
                do="give PEM files that belong together",
            ) from None
    return uvicorn.Config(
        app=_nothing,
        ssl_certfile=settings.ingest_certfile,
        ssl_keyfile=settings.ingest_keyfile,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=None,
    )


async def _nothing(_scope: object, _receive: object, _send: object) -> None:
    """In the place of the application until there is one."""


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.ingest_host, settings.ingest_port
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            # Health answers before the application does: from now on a client waits for it instead of being refused.
            opened.listen(_BACKLOG)
            opened.setblocking(False)
        except OSError:
            opened.close()
            raise
    except OSError as error:
        raise InvalidInput(
            f"{host}:{port} can't be opened: {error.strerror or error}",
            do=f"set {PREFIX}INGEST_HOST and {PREFIX}INGEST_PORT",
        ) from None
    return opened
