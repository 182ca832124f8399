"""HTTP on the metrics port: `/metrics`, `/healthz`, `/readyz` (contract section 7). Binds where the settings say,
127.0.0.1 by default.

The server has threads of its own: a probe is answered within a second whatever the event loop is busy with.
"""

import asyncio
import concurrent.futures
import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from transfer_gate.errors import InvalidInput
from transfer_gate.observe import metrics
from transfer_gate.observe.metrics import REGISTRY
from transfer_gate.settings import PREFIX

#: How long an answer waits for what only the event loop knows; then it says what was so when the loop last answered.
LOOP_PATIENCE_SECONDS: Final = 0.4
#: A client that sends nothing for this long is left.
CLIENT_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1
_TEXT: Final = "text/plain; charset=utf-8"


def _nothing() -> None:
    """For programs whose metrics are always up to date."""


def _alive() -> bool:
    """For programs that have nothing to say beyond answering at all."""
    return True


class _LoopLate(Exception):
    """The event loop did not answer in time."""


class _Loop:
    """Questions to an event loop from other threads, each with a bounded wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._turns = threading.Event()
        self._turns.set()

    def ask(self, question: Callable[[], Any]) -> Any:
        """What `question` returns on the loop. Raises _LoopLate, at once while an earlier question still waits."""
        if not self._turns.is_set():
            raise _LoopLate
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def run() -> None:
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(question())
                except Exception as error:  # noqa: BLE001 - raised where it was asked
                    answer.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(run)
            return answer.result(LOOP_PATIENCE_SECONDS)
        except concurrent.futures.TimeoutError:
            answer.cancel()  # asked too late it would change gauges while another answer is written from them
            self._turns.clear()
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._turns.set)
            raise _LoopLate from None
        except RuntimeError:  # the loop is closed
            raise _LoopLate from None


class _Program:
    """What the program says of itself."""

    def __init__(
        self,
        loop: _Loop,
        ready: Callable[[], bool],
        why_not: Callable[[], str],
        alive: Callable[[], bool],
        refresh: Callable[[], None],
        registry: CollectorRegistry,
    ) -> None:
        self._loop = loop
        self._ready, self._why_not, self._alive, self._refresh = ready, why_not, alive, refresh
        self._registry = registry
        self._one_at_a_time = threading.Lock()
        self._readiness = (503, "not ready\n")

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        if path == "/healthz":
            return (200, _TEXT, b"ok\n") if self._alive() else (503, _TEXT, b"not alive\n")
        if path == "/readyz":
            with contextlib.suppress(_LoopLate):
                self._readiness = self._loop.ask(self._look)
            status, text = self._readiness
            return status, _TEXT, text.encode()
        if path == "/metrics":
            with self._one_at_a_time:  # a refresh must not change the gauges that another answer is written from
                with contextlib.suppress(_LoopLate):
                    self._loop.ask(self._refresh)
                return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        return 404, _TEXT, b"not found\n"

    def _look(self) -> tuple[int, str]:
        return (200, "ready\n") if self._ready() else (503, f"not ready\n{self._why_not()}")


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_SECONDS
    server: "HealthServer"

    def do_GET(self) -> None:
        """Answer with a body."""
        status, kind, body = self.server.program.answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def version_string(self) -> str:
        """Say nothing of versions."""
        return "transfer-gate"

    def log_message(self, *_: Any) -> None:
        """Probes are not logged."""


class HealthServer(socketserver.ThreadingTCPServer):
    """Answers until it is closed, each client in a thread of its own."""

    # Not http.server's HTTPServer, which asks DNS for the name of its own host.
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, host: str, port: int, program: _Program) -> None:
        self.program = program
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family = found[0][0]
        super().__init__((str(found[0][4][0]), port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(_POLL_SECONDS,), name="health", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that was taken."""
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that left before its answer."""

    async def close(self) -> None:
        """Stop answering."""
        await asyncio.to_thread(self.shutdown)
        self.server_close()


def serve_health(
    host: str,
    port: int,
    ready: Callable[[], bool],
    *,
    why_not: Callable[[], str] = str,
    alive: Callable[[], bool] = _alive,
    refresh: Callable[[], None] = _nothing,
    registry: CollectorRegistry = REGISTRY,
) -> HealthServer:
    """Serve until the returned server is closed; docs/reference/metrics.md says what each answer means. Call it on the
    event loop of the program.

    `ready`, `why_not` (lines behind "not ready") and `refresh` are called on the loop: while it is blocked, answers are
    those of when it last turned. `refresh` sets what is only measured on request, before each answer of
    `/metrics`. `alive` is called in a thread.

    Raises InvalidInput when the port is taken.
    """
    program = _Program(_Loop(asyncio.get_running_loop()), ready, why_not, alive, refresh, registry)
    try:
        return HealthServer(host, port, program)
    except OSError as error:
        raise InvalidInput(
            f"the metrics port {host}:{port} can't be opened: {error.strerror or error}",
            do=f"set {PREFIX}METRICS_PORT to a free port, or 0 for any",
        ) from error


BEAT_SECONDS: Final = 0.25


class Pulse:
    """Beats for as long as `beat` runs, and whenever a round looks at its `timer`. Any thread may ask how long it has
    been silent.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: float | None = None

    @property
    def silent(self) -> float:
        """Seconds since the latest beat; 0 before the first."""
        last = self._last
        return max(0.0, self._clock() - last) if last is not None else 0.0

    def timer(self) -> float:
        """Seconds of a clock for rounds, which look at it at every record: that is progress, too."""
        self._last = now = self._clock()
        return now

    async def beat(self) -> None:
        """Measure until cancelled; a blocked loop makes the next beat late."""
        while True:
            due = self.timer() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            metrics.LOOP_LAG_SECONDS.observe(max(0.0, self._clock() - due))
