"""SIGTERM ends a worker in order: it finishes its rounds, leaves nothing open or aborted, exits 0."""

import asyncio
import random
import signal
import time
from typing import Final

from tests.faults.conftest import Figures, NewInstallation
from tests.support.balance import balance
from tests.support.clients import open_producer, open_reader, places_of, read_all
from tests.support.events import Events
from tests.support.load import Load
from tests.support.registry import PARTNERS
from tests.support.workers import PATIENCE, Installation, Worker

TRANSFERS: Final = 12_000
#: Issue 3, point 3.
STOP_SECONDS: Final = 10
DECIDED: Final = "transfer_gate_decisions_total"


async def test_a_worker_under_load_that_gets_sigterm_finishes_its_rounds_and_the_next_one_goes_on(
    bootstrap_servers: str,
    new_installation: NewInstallation,
    events: Events,
    chance: random.Random,
    figures: Figures,
) -> None:
    place = new_installation(bootstrap_servers, max_round_records=100)
    stops = []
    async with open_producer(place.bootstrap_servers) as producer:
        load = Load(place, producer, events, chance, prospects=3000)
        feeding = asyncio.ensure_future(load.feed(TRANSFERS))
        for in_the_background in (False, False, True):
            worker = started_in_the_background(place) if in_the_background else place.start_worker()
            await worker.until(lambda: worker.metric(DECIDED) > 500, "under load")  # noqa: B023
            code, seconds = await worker.terminate()
            stops.append(seconds)
            assert code == 0, worker.tail()
            assert seconds < STOP_SECONDS
            assert await open_transactions(place) == 0, "a transaction was left open"
        await feeding
        await place.start_worker().until_ready()
        code, counts = await asyncio.to_thread(place.verify)
    figures(**counts, longest_stop_seconds=round(max(stops), 2))
    assert code == 0
    assert counts["inputs"] == TRANSFERS
    assert counts == (await balance(place)).as_counts()
    assert await count(place, "read_uncommitted") == await count(place, "read_committed"), "a round was aborted"


def started_in_the_background(place: Installation) -> Worker:
    """A worker that begins with SIGINT ignored, as under `nohup` or as a background job of a shell."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return place.start_worker()
    finally:
        signal.signal(signal.SIGINT, before)


def outputs(place: Installation) -> list[str]:
    topics = place.topics
    partner_topics = [f"{topics.prefix}partner.{party}" for party in PARTNERS]
    return [topics.changelog, topics.decisions, topics.quarantine, *partner_topics]


async def open_transactions(place: Installation) -> int:
    """Output partitions whose last stable offset stays behind their end: their commit markers never come."""
    places = places_of(outputs(place), place.partitions)
    deadline = time.monotonic() + PATIENCE / 10
    async with (
        open_reader(place.bootstrap_servers, "read_committed") as committed,
        open_reader(place.bootstrap_servers, "read_uncommitted") as all_there_is,
    ):
        ends = await all_there_is.end_offsets(places)
        while True:
            stable = await committed.end_offsets(places)
            behind = sum(1 for place, end in ends.items() if stable[place] < end)
            if not behind or time.monotonic() > deadline:
                return behind
            await asyncio.sleep(0.05)


async def count(place: Installation, isolation_level: str) -> int:
    read = read_all(place.bootstrap_servers, outputs(place), place.partitions, isolation_level)
    return sum([1 async for _ in read])
