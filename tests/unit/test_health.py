"""What `/healthz`, `/readyz` and `/metrics` answer, and whether a blocked event loop is noticed."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry, Gauge

from transfer_gate.errors import InvalidInput
from transfer_gate.observe.health import serve_health
from transfer_gate.observe.pulse import BEAT_SECONDS, Pulse


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

    runner = await serve_health(
        "127.0.0.1",
        0,
        lambda: served.ready,
        alive=lambda: served.alive,
        refresh=refresh,
        registry=registry,
    )
    host, port = runner.addresses[0][:2]
    served.url = f"http://{host}:{port}"
    yield served
    await runner.cleanup()


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
        await serve_health("127.0.0.1", int(program.url.rpartition(":")[2]), lambda: True)


async def test_a_blocked_loop_makes_the_pulse_late() -> None:
    pulse = Pulse()
    assert pulse.late == 0
    beating = asyncio.create_task(pulse.beat())
    await asyncio.sleep(0)
    assert pulse.late == 0
    time.sleep(BEAT_SECONDS + 0.2)  # noqa: ASYNC251 - this is what must be noticed
    assert pulse.late >= 0.2
    await asyncio.sleep(0.01)
    assert pulse.late == 0
    beating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beating
