"""Prometheus itself looks at a live worker: the dashboards have something to show, and `down` fires when it is gone."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from deploy.monitoring.grafana.generate.boards import BOARDS
from tests.support.prometheus import DOWN_FOR_SECONDS, Prometheus, watching
from tests.support.stream_gate import StreamGate, open_gate

pytestmark = pytest.mark.monitoring

#: Long enough for rates over `RATE_WINDOW` and for one measurement of the lag.
LOAD_SECONDS: Final = 12
RATE_WINDOW: Final = "5s"
#: Panels of which one worker that is doing well has nothing to tell: they belong to the auditor, to defects, and to
#: assignments, of which there is one before Prometheus looks.
QUIET: Final = {"Leaks", "Audited", "Oldest open", "Open replay runs", "Rules that raised", "From assigned to open"}


async def load(gate: StreamGate, seconds: float) -> None:
    """Transfers that are released, held and unreadable, consents, withdrawals, and events that nobody can read."""
    began, number = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        number += 1
        prospect = f"p-{number}"
        key = prospect.encode()
        await gate.consent(prospect)
        if number % 3 == 0:
            await gate.send(
                gate.topics.consents,
                gate.events.against("withdrawal", prospect, f"w-{number}"),
                key,
            )
        await gate.send(gate.topics.transfers, gate.events.transfer(prospect, f"t-{number}"), key)
        if number % 10 == 0:
            await gate.send(gate.topics.transfers, b"{", key)
            await gate.send(gate.topics.consents, b"{", key)
    await gate.settled()


def empty_panels(prometheus: Prometheus, since: float) -> set[str]:
    """Titles of panels with a query that had no number."""
    return {
        panel.title
        for board in BOARDS
        for row in board.rows
        for panel in row.panels
        for expr in panel.queries.values()
        if not prometheus.has_data(expr.replace("$__rate_interval", RATE_WINDOW), since)
    }


async def test_the_panels_have_data_and_down_fires_when_the_worker_is_stopped(
    bootstrap_servers: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    folder = tmp_path / "gate"
    folder.mkdir()
    async with open_gate(bootstrap_servers, folder, partitions=2) as gate:
        with watching(gate.worker.address, tmp_path) as prometheus:
            since = time.time()
            await load(gate, LOAD_SECONDS)
            with contextlib.suppress(AssertionError):  # what is missing is told better below
                prometheus.wait_until(lambda: empty_panels(prometheus, since) == QUIET, "in all panels", 15)
            assert empty_panels(prometheus, since) == QUIET
            assert prometheus.state_of("TransferGateDown", "transfer-gate") == "inactive"

            code, stopping = await gate.worker.terminate()
            assert code == 0
            firing = await asyncio.to_thread(
                prometheus.wait_until,
                lambda: prometheus.state_of("TransferGateDown", "transfer-gate") == "firing",
                "firing",
            )
    record_property("seconds_from_stopped_to_firing", firing)
    print(f"stopped in {stopping:.1f} s; silent to firing in {firing:.1f} s, `for` is {DOWN_FOR_SECONDS} s")  # noqa: T201
    assert firing >= DOWN_FOR_SECONDS - 1
