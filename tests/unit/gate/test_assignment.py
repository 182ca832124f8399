"""A gate on a feed of lists and a recording writer: from an assignment to the effects of its rounds, without Faust and
without a broker.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.feeds import Brought, ListFeed
from tests.support.round_effects import Heart, book_of
from transfer_gate.errors import GateError
from transfer_gate.gate import assignment
from transfer_gate.gate.assignment import Gate
from transfer_gate.gate.inbox import Fetched
from transfer_gate.gate.integrity.logs import HistoryLost
from transfer_gate.gate.table import Tables
from transfer_gate.gate.takeover import Owned, TakenOver
from transfer_gate.kafka.coordinator import Committed, RoundFailed
from transfer_gate.records.commit_notes import CommitNote

STOPPED = HistoryLost("records were deleted", do="publish them anew")


class RecordedTakeOver:
    """Gives out the tables and the writer of a Heart, from where its writer has committed."""

    def __init__(self, heart: Heart) -> None:
        self._heart = heart
        self.fails: list[Exception] = []
        self.stopped: Mapping[int, GateError] = {}

    def begin(self) -> None:
        self._heart.effects.append("begin")

    async def keep(self, numbers: set[int], stopped: set[int]) -> None:
        self._heart.effects.append(f"keep {sorted(numbers)} stopped {sorted(stopped)}")

    async def run(self, numbers: set[int]) -> TakenOver:
        self._heart.effects.append("fence and restore")
        if self.fails:
            raise self.fails.pop()
        heart = self._heart
        tables = Tables(heart.consent_table, heart.ledger_table)
        committed = {topic: Committed(offset, "") for topic, offset in heart.recorder.offsets.items()}
        owned = {
            number: Owned(committed, CommitNote("a-life"), tables, heart.recorder)
            for number in numbers - {*self.stopped}
        }
        return TakenOver({}, owned, self.stopped, 0, 2)

    def restored(self, number: int) -> int | None:
        return self._heart.consent_table.position if number == 0 else None


class World:
    """A gate, its feed, and everything that happens."""

    def __init__(self, heart: Heart) -> None:
        self.heart = heart
        book = heart.book
        consents = heart.acknowledge(book.consents, heart.consent("p-1"))
        transfers = heart.acknowledge(book.transfers, heart.transfer("p-1"))
        brought: list[Brought] = [
            (book.strays, 0, Fetched.of([], 0)),
            (book.consents, 0, Fetched.of(consents, 1)),
            (book.transfers, 0, Fetched.of(transfers, 1)),
        ]
        self.feed = ListFeed({0}, brought)
        self.take_over = RecordedTakeOver(heart)
        self.gate = Gate(self.feed, self.take_over, heart.shared)

    async def until(self, done: Callable[[], bool]) -> None:
        """Let everything run until something is so."""
        async with asyncio.timeout(30):
            while not done():  # noqa: ASYNC110 - each look is at what the last step did
                await asyncio.sleep(0)

    def committed(self) -> bool:
        """Whether the transfer is committed."""
        return self.heart.book.transfers in self.heart.recorder.offsets

    async def until_committed(self) -> None:
        """Serve until the transfer is committed, then stop."""
        serving = asyncio.create_task(self.feed.run(self.gate))
        await self.until(self.committed)
        await self.feed.stop()
        await serving


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    monkeypatch.setattr(assignment, "RETRY_SECONDS", 0)
    return World(Heart(monkeypatch, book_of(tmp_path)))


async def test_what_a_feed_brings_is_decided_and_committed_after_the_take_over(world: World) -> None:
    await world.until_committed()
    effects = list(world.heart.effects)
    assert effects[:3] == ["begin", "keep [0] stopped []", "fence and restore"]
    assert "produce partner.acme p-1 email sms" in effects
    assert effects[-3:] == ["commit", "table consent up to 2", "counted"]
    assert (world.feed.rejoined, world.gate.partitions, world.gate.ready) == (0, {}, False)
    assert world.gate.restored(0) == 2


async def test_a_commit_without_an_answer_ends_in_a_new_assignment_that_decides_the_same(world: World) -> None:
    world.heart.recorder.fails = {"commit": RoundFailed("no answer")}
    serving = asyncio.create_task(world.feed.run(world.gate))
    await world.until(lambda: world.feed.rejoined > 0)
    assert world.heart.recorder.written == []
    world.heart.recorder.fails = {}
    await world.until(world.committed)
    await world.feed.stop()
    await serving
    released = [record for record in world.heart.recorder.written if "partner" in record.topic]
    assert len(released) == 1
    assert world.heart.effects.count("fence and restore") == world.feed.rejoined + 1


async def test_a_take_over_without_an_answer_is_tried_again_and_owns_nothing_meanwhile(world: World) -> None:
    world.take_over.fails = [RoundFailed("no answer")]
    assert await world.gate.open({0}) is False
    assert (world.gate.partitions, world.gate.assigned) == ({}, False)
    await world.until_committed()


async def test_a_partition_that_stops_lets_the_others_decide_and_the_worker_is_not_ready(world: World) -> None:
    world.take_over.stopped = {1: STOPPED}
    assert await world.gate.open({0, 1})
    assert set(world.gate.partitions) == {0}
    assert (world.gate.why_stopped, world.gate.ready) == ({1: "history-lost"}, False)
    assert not world.gate.may_fetch(world.heart.book.transfers, 1)
    await world.gate.release()


async def test_what_only_a_person_can_fix_ends_the_feed(world: World) -> None:
    world.heart.consent_table.fails = GateError("the disk can't be read")
    with pytest.raises(GateError, match="the disk can't be read"):
        await asyncio.wait_for(world.feed.run(world.gate), 30)
    assert world.heart.recorder.offsets == {}


async def test_topics_that_change_release_everything_or_ask_for_a_new_assignment(world: World) -> None:
    assert await world.gate.open({0})
    await world.gate.topics_changed(RoundFailed("a topic was made anew"))
    assert (world.feed.rejoined, world.gate.ready, set(world.gate.partitions)) == (1, False, {0})
    await world.gate.topics_changed(STOPPED)
    assert (world.feed.failure, world.gate.partitions) == (STOPPED, {})
