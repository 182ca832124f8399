"""What `/healthz`, `/readyz` and `/metrics` answer, and whether a blocked event loop is noticed."""

import asyncio
import contextlib
import threading
import urllib.request
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry, Gauge

from transfer_gate.errors import InvalidInput
from transfer_gate.gate.worker import STUCK_SECONDS
from transfer_gate.observe.health import Pulse, serve_health


@dataclass
class Program:
    """What is served, and what it would say."""

    url: str = ""
    ready: bool = False
    alive: bool = True
    asked: int = 0

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text."""
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return answer.status, await answer.text()


@pytest_asyncio.fixture
async def program() -> AsyncIterator[Program]:
    """On a free port, with a registry of its own."""
    served, registry = Program(), CollectorRegistry()
    asked = Gauge("asked", "How often somebody asked.", registry=registry)

    def refresh() -> None:
        served.asked += 1
        asked.set(served.asked)

    server = serve_health(
        "127.0.0.1",
        0,
        lambda: served.ready,
        alive=lambda: served.alive,
        refresh=refresh,
        registry=registry,
    )
    served.url = f"http://127.0.0.1:{server.port}"
    yield served
    await server.close()


async def test_ready_and_alive_are_two_questions(program: Program) -> None:
    assert await program.get("/readyz") == (503, "not ready\n")
    assert await program.get("/healthz") == (200, "ok\n")
    program.ready, program.alive = True, False
    assert await program.get("/readyz") == (200, "ready\n")
    assert await program.get("/healthz") == (503, "not alive\n")


async def test_every_answer_is_fresh_also_when_many_ask_at_once(program: Program) -> None:
    answers = await asyncio.gather(*(program.get("/metrics") for _ in range(8)))
    values = sorted(float(line.split()[1]) for _, text in answers for line in text.splitlines() if line[:6] == "asked ")
    assert values == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all(text.endswith("# EOF\n") for _, text in answers)


async def test_a_port_that_is_taken_is_told(program: Program) -> None:
    with pytest.raises(InvalidInput, match="can't be opened"):
        serve_health("127.0.0.1", int(program.url.rpartition(":")[2]), lambda: True)


async def test_a_busy_loop_keeps_nobody_from_an_answer(program: Program) -> None:
    program.ready = True
    assert await program.get("/readyz") == (200, "ready\n")
    answered = threading.Event()
    answers: list[tuple[int, bytes]] = []

    def ask() -> None:
        for path in ("/healthz", "/readyz", "/metrics", "/readyz"):
            with urllib.request.urlopen(program.url + path, timeout=10) as answer:  # noqa: S310 - http, to ourselves
                answers.append((answer.status, answer.read()))
        answered.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert answered.wait(30), "the loop stands here until all were answered"
    thread.join()
    assert answers[0] == (200, b"ok\n")
    assert answers[1] == answers[3] == (200, b"ready\n"), "as of when the loop last turned"
    assert answers[2][1].endswith(b"# EOF\n")
    await asyncio.sleep(0)
    program.ready = False
    assert await program.get("/readyz") == (503, "not ready\n")
    assert program.asked == 0, "a question that came too late changes nothing later"


async def test_heads_and_other_paths(program: Program) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.head(program.url + "/healthz") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        async with session.get(program.url + "/other") as answer:
            assert answer.status == 404


def test_silence_is_told_from_any_thread() -> None:
    now = 100.0
    pulse = Pulse(lambda: now)
    assert pulse.silent == 0, "it has not begun"
    assert pulse.timer() == 100.0
    now = 161.0
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: pulse.silent).result() == 61.0 > STUCK_SECONDS
    pulse.timer()  # a record was decided
    assert pulse.silent == 0


async def test_a_loop_that_turns_beats() -> None:
    turned = asyncio.Event()
    times = iter(range(1000))

    def clock() -> float:
        now = float(next(times))
        if now > 3:
            turned.set()
        return now

    beating = asyncio.create_task(Pulse(clock).beat())
    await asyncio.wait_for(turned.wait(), 30)
    beating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beating
