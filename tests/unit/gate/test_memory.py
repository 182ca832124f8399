"""What the partitions of a worker hold together is counted from fetch to commit, and a round that failed shrinks."""

import asyncio
import datetime as dt
from pathlib import Path
from typing import Final, cast
from unittest.mock import Mock

import pytest

from tests.support.events import Events
from tests.support.feeds import ListFeed
from tests.support.registry import write_registry
from tests.unit.gate.test_inbox import MIB, record
from transfer_gate.gate.assignment import Gate
from transfer_gate.gate.inbox import Fetched, Inbox
from transfer_gate.gate.memory import (
    LEAST,
    LOOK_EACH_BYTES,
    LOOK_SPENT_BYTES,
    InboxBudget,
    OutputRoom,
    Share,
    fetch_bytes,
)
from transfer_gate.gate.monitoring import Meter
from transfer_gate.gate.partition import Partition, Shared
from transfer_gate.gate.round import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, Tables
from transfer_gate.kafka.coordinator import RoundFailed
from transfer_gate.kafka.sizes import weight
from transfer_gate.kafka.unpacking import HEADER_OVERHEAD
from transfer_gate.model.topics import Topics
from transfer_gate.registry import load_registry

NOW: Final = dt.datetime(2026, 11, 24, 9, tzinfo=dt.UTC)


def test_the_budget_is_shared_and_an_empty_inbox_may_always_fetch() -> None:
    budget = InboxBudget(4 * MIB)
    transfers, consents = Inbox(1000, budget=budget), Inbox(1000, budget=budget, first=True)
    transfers.put(Fetched.of([record(offset, bytes(MIB)) for offset in range(4)], 4))
    assert budget.spent(first=True)
    assert transfers.full
    assert not consents.full, "a transfer may wait for just what stands there"
    consents.put(Fetched.of([record(0, b"")], 1))
    assert consents.full


def test_transfers_that_wait_leave_room_for_the_events_that_they_wait_for() -> None:
    budget = InboxBudget(4 * MIB)
    transfers, consents = Inbox(1000, budget=budget), Inbox(1000, budget=budget, first=True)
    consents.put(Fetched.of([record(0, b"")], 1))
    transfers.put(Fetched.of([record(offset, bytes(MIB)) for offset in range(3)], 3))
    assert (transfers.full, consents.full) == (True, False)
    assert (budget.look(), budget.look(first=True)) == (LOOK_SPENT_BYTES, LOOK_EACH_BYTES)
    consents.put(Fetched.of([record(1, bytes(MIB))], 2))
    assert consents.full
    assert budget.look(first=True) == LOOK_SPENT_BYTES < LOOK_EACH_BYTES


def test_what_waits_packed_in_the_consumer_is_bounded_over_all_partitions() -> None:
    assert fetch_bytes(8) == 2 * MIB
    for places in (64, 200, 512):
        assert places * fetch_bytes(places) <= 64 * MIB
    assert fetch_bytes(100_000) >= 100_000, "a fetch of next to nothing would never end"


def test_what_was_taken_counts_until_it_is_settled() -> None:
    budget = InboxBudget(2 * MIB)
    queue = Inbox(1000, budget=budget)
    queue.put(Fetched.of([record(offset, bytes(MIB)) for offset in range(3)], 3))
    all_of_it = budget.used
    taken = queue.take(2)
    assert taken is not None
    assert budget.used == all_of_it, "its round is not committed"
    queue.put_back(taken.split(1)[1])
    queue.settle()
    assert budget.used == pytest.approx(all_of_it * 2 / 3)
    while queue.take(1000):
        queue.settle()
    assert budget.used == 0
    assert not queue.full


def test_what_is_dropped_counts_no_more() -> None:
    budget = InboxBudget(MIB)
    queue = Inbox(1000, budget=budget)
    queue.put(Fetched.of([record(offset, bytes(MIB)) for offset in range(3)], 3))
    queue.take(1)
    queue.drop()
    assert budget.used == 0


def test_headers_of_two_bytes_weigh_what_python_needs_for_them() -> None:
    plain = record(0, b"")
    plain.headers = tuple(("h", b"") for _ in range(1000))
    assert weight(plain) >= 1000 * HEADER_OVERHEAD


async def test_no_round_begins_while_outputs_of_others_fill_the_room() -> None:
    room = OutputRoom(10)
    with room.hold(9):
        await asyncio.wait_for(room.wait(), 10)  # less than the room is taken
        with room.hold(200):
            waiting = asyncio.create_task(room.wait())
            for _ in range(3):
                await asyncio.sleep(0)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 10)


async def test_whoever_waits_for_room_comes_before_the_round_that_made_it() -> None:
    room, order = OutputRoom(10), []

    async def begin(name: str) -> None:
        await room.wait()
        order.append(name)

    with room.hold(10):
        waiting = asyncio.create_task(begin("another"))
        await asyncio.sleep(0)
    await begin("the same again")
    await waiting
    assert order == ["another", "the same again"]


async def test_outputs_that_failed_leave_the_room() -> None:
    room = OutputRoom(10)
    with pytest.raises(ValueError, match="as a commit"), room.hold(11):
        raise ValueError("as a commit")
    assert room.free


def test_a_failure_halves_a_round_and_commits_make_it_whole_again() -> None:
    share = Share()
    assert share.of(2000) == 2000
    share.failed()
    share.failed()
    assert share.of(2000) == 500
    share.committed()
    assert 500 < share.of(2000) < 600, "slowly"
    for _ in range(100):
        share.committed()
    assert share.of(2000) == 2000
    for _ in range(100):
        share.failed()
    assert share.of(2000) == max(1, int(2000 * LEAST))
    assert share.of(1) == 1, "never nothing"


async def test_a_round_that_failed_halves_the_next_one_of_its_partition(tmp_path: Path) -> None:
    class Failing:
        number = 3

        async def run(self) -> None:
            raise RoundFailed("the cluster did not take the transaction in time")

    book = Rulebook.of(Topics(), load_registry(write_registry(tmp_path / "registry", NOW)))
    shared = Shared(book=book, watermark=Mock(), meter=Meter(book), round_records=1, inbox_records=1)
    feed = ListFeed()
    await Gate(feed, Mock(), shared)._run(cast(Partition, Failing()))
    assert shared.memory.share(3).now == 0.5
    assert shared.memory.share(4).now == 1, "of no other partition"
    assert feed.rejoined == 1


def decided(tmp_path: Path, weights: list[int], share: float = 1.0) -> list[int]:
    """How many records each round takes of transfers whose headers weigh so much."""
    book = Rulebook.of(Topics(), load_registry(write_registry(tmp_path, NOW)))
    records = []
    for offset, size in enumerate(weights):
        waits = record(offset, bytes(size))
        waits.topic, waits.value = book.transfers, Events(NOW).transfer("p-1", f"t-{offset}")
        records.append(waits)
    counts = []
    while records:
        work = Round(book, Tables(MemorySlice(), MemorySlice()), 0, NOW, share=share)
        counts.append(work.decide(records, 1))
        records = records[counts[-1] :]
    return counts


def test_a_large_record_is_decided_alone(tmp_path: Path) -> None:
    assert decided(tmp_path, [1, 1, MIB, MIB, 1, 1]) == [2, 1, 1, 2]


def test_a_round_with_a_small_share_takes_less(tmp_path: Path) -> None:
    assert decided(tmp_path, [400_000] * 4) == [4]
    assert decided(tmp_path, [400_000] * 4, 1 / 64) == [1, 1, 1, 1]
