"""One partition, one owner, one transaction at a time: fold, wait at the barrier, decide, commit."""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from transfer_gate.errors import BrokerUnavailable
from transfer_gate.gate.inbox import ConsentEnds, Fetched, Inbox, Inboxes, Offsets, Record, RoundRecords
from transfer_gate.gate.integrity.commit_note import Origins
from transfer_gate.gate.integrity.logs import InputLogs, LeaderEpochs, Watermark, require_log
from transfer_gate.gate.memory import Memory
from transfer_gate.gate.monitoring import Deleted, Meter, PartitionSnapshot
from transfer_gate.gate.originals import NOTHING_FOUND, Found, Originals
from transfer_gate.gate.retention import Expired, Retention, Sweep
from transfer_gate.gate.round import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import Slice, Tables
from transfer_gate.kafka.access import AccessDenied
from transfer_gate.kafka.batches import Batches
from transfer_gate.kafka.coordinator import RoundFailed
from transfer_gate.kafka.produce import Place, Written
from transfer_gate.observe.logs import summary
from transfer_gate.records.commit_notes import CommitNote
from transfer_gate.records.sealing import UNSEALED, Sealing

logger = logging.getLogger(__name__)

#: How long a round that runs may take to end when the partition is given up, seconds.
RELEASE_SECONDS: Final = 5.0
#: A position that moved without records is committed alone when no round came within this time, seconds.
QUIET_SECONDS: Final = 1.0


def utc_now() -> dt.datetime:
    """The clock of a worker."""
    return dt.datetime.now(dt.UTC)


class Writer(Protocol):
    """Who writes a round: all of it in one transaction, or nothing. See `TransactionalWriter`."""

    async def produce(self, batches: Batches, *elsewhere: Batches) -> Mapping[Place, Written]:
        """Begin a transaction and write these; returns where they stand, as far as is known. Raises RoundFailed."""

    async def commit(self, partition: int, offsets: Mapping[str, int], note: str) -> None:
        """End the transaction with the offsets of the inputs, and the note beside each. Raises RoundFailed."""


class Shared(Struct, frozen=True, kw_only=True):
    """What all partitions of a worker share."""

    book: Rulebook
    watermark: Watermark
    meter: Meter
    #: Most records of a round, of each input; and of what waits in an inbox.
    round_records: int
    inbox_records: int
    #: Time of decisions, UTC; and seconds of a round, looked at for every record.
    clock: Callable[[], dt.datetime] = utc_now
    timer: Callable[[], float] = time.perf_counter
    sealing: Sealing = UNSEALED
    memory: Memory = field(default_factory=Memory)
    epochs: LeaderEpochs | None = None
    #: Of quarantine; without, nothing is swept.
    retention: Retention | None = None
    #: Of what is quarantined by reference; without, none is read.
    originals: Originals | None = None
    #: Counts what was deleted undecided.
    deleted: Deleted | None = None


class Waiting(Struct, frozen=True):
    """Transfers and replays in front of the barrier: they are decided once consent is applied up to `need`.

    `at` was read before `need` was requested: every consent event acknowledged before `at` lies below `need`.
    """

    transfers: Fetched | None
    replays: Fetched | None
    at: dt.datetime
    since: float
    need: ConsentEnds
    #: Of replays by reference, what they refer to.
    originals: Found = NOTHING_FOUND

    @property
    def count(self) -> int:
        """How many records wait."""
        return sum(len(taken.records) for taken in (self.transfers, self.replays) if taken)


class Partition:
    """Decides the transfers of one partition for as long as this worker owns it.

    Raises out of `run`: RoundFailed and Fenced when ownership or the outcome of a commit is unknown; GateError when
    only a person can help.
    """

    def __init__(
        self,
        number: int,
        shared: Shared,
        tables: Tables,
        writer: Writer,
        committed: Offsets,
        note: CommitNote,
        *,
        first: bool = False,
    ) -> None:
        """`committed`: what the group has committed of the inputs; `note`: what every commit notes, its ends and leader
        epochs apart; `first`: the group has not committed anything in this partition, or nothing to its changelog.
        """
        self._first = first
        book = self._book = shared.book
        self.number = number
        self._shared = shared
        self._room = shared.memory.outputs
        self._share = shared.memory.share(number)
        # Nothing below what the group committed is ever taken again, whatever the consumer fetches.
        epochs_before = {topic: life.epoch for topic, life in note.topics.items()}
        self.inboxes = Inboxes(book, shared.inbox_records, committed, epochs_before, shared.memory.inboxes)
        #: Up to where consent is applied; not known until the first fetch of each topic.
        self.applied = ConsentEnds()
        #: Up to where each input is done with, and what of that is committed. Positions that moved over control and
        #: aborted records only are committed too: once the log is cleaned up they would look like events that were
        #: deleted unread.
        self.offsets = self._committed = committed
        self._tables = tables
        self._note_before = note
        self._origins = Origins.of(book, note)
        self._writer = writer
        self._watermark = shared.watermark
        self._meter = shared.meter
        self._clock = shared.clock
        self._sweep = Sweep(shared.retention, tables, book.registry.policy.recall_memory())
        self._logs = InputLogs(number, book.waited_for, self.inboxes, shared.watermark, shared.epochs)
        self._work = asyncio.Event()
        self._leaving = False
        self._waiting: Waiting | None = None

    def receive(self, topic: str, fetched: Fetched) -> None:
        """Take one fetch of an input topic. Raises ValueError when its offsets or leader epochs go backwards."""
        self.inboxes[topic].put(fetched)
        self._logs.take_hole(topic, fetched.hole)
        if self._shared.deleted is not None and topic not in self._book.waited_for:
            # What is missing of the others stops the partition.
            self._shared.deleted.passed(topic, self.number, self.inboxes[topic].take_passed())
        self._work.set()

    def leave(self) -> None:
        """End after the round that runs; what waits is left to the next owner."""
        self._leaving = True
        self._work.set()

    @property
    def decides(self) -> bool:
        """Whether consent is known up to some position, so that transfers can be decided."""
        return None not in self.applied

    async def run(self) -> None:
        """Work until `leave`."""
        while not self._leaving:
            await self._until_work()
            await self.work()

    async def work(self) -> None:
        """Rounds, one transaction each, until there is only to wait, or to leave. Raises as `run` does."""
        while await self._round():
            await self._sweep_if_due(idle=False)

    @property
    def snapshot(self) -> PartitionSnapshot:
        """This partition as it is now."""
        waiting = self._waiting
        first = next(iter(waiting.transfers.records), None) if waiting and waiting.transfers else None
        return PartitionSnapshot(
            number=self.number,
            applied=self.applied.consents,
            positions=self.offsets.by_topic(self._book),
            inbox={topic: inbox.waiting for topic, inbox in self.inboxes.items()},
            waiting=waiting.count if waiting else 0,
            since=waiting.since if waiting else None,
            oldest=self.inboxes.transfers.oldest if first is None else first.timestamp,
            prospects=len(self._tables.consent),
        )

    async def _until_work(self) -> None:
        try:
            await asyncio.wait_for(self._work.wait(), QUIET_SECONDS)
        except TimeoutError:
            self._work.clear()  # before the commit: what comes in meanwhile must wake this task again
            if self.offsets != self._committed:
                work = self._round_at(self._clock())
                work.close()
                await self._commit(work, self.offsets)
            await self._sweep_if_due(idle=self.decides)
        else:
            self._work.clear()

    async def _sweep_if_due(self, *, idle: bool) -> None:
        """Forget what quarantine has deleted, in transactions of their own."""
        if self._leaving or not self._sweep.due(self._clock, idle=idle):
            return
        for expired in await self._sweep.expired(self._clock()):
            await self._forget(expired)

    async def _forget(self, expired: Expired) -> None:
        work = self._round_at(self._clock())
        work.sweep(expired.owners, expired.quarantine_ids, expired.served)
        work.close()
        if not self._leaving and (work.changes or work.ledger_changes):
            await self._commit(work, self.offsets)

    async def _round(self) -> bool:
        """Run one round, one transaction. Returns False when there is only to wait, or to leave.

        1. Meet the read barrier: take the transfers and replays that wait, note the time, request the high watermarks
           of consents and strays. Once for the same records, however many rounds they wait.
        2. Wait until the outputs of other partitions leave room; hold that the logs of the inputs are whole.
        3. Take consent events and strays, and fold them.
        4. Where these reach the barrier, decide what waits.
        5. Commit: produce the outputs, note up to where the logs of the tables reach, commit offsets and note.
        6. Take what changed over into the tables; count.

        From 3 to the end of 4 nothing is waited for. A step that fails leaves nothing behind: the next owner begins at
        the committed offsets.
        """
        if self._leaving:
            return False
        if self._waiting is None:
            self._waiting = await self._meet_barrier()
        if not await self._until_room():
            return False
        most = self._share.of(self._shared.round_records)
        events = RoundRecords(consents=self.inboxes.consents.take(most), strays=self.inboxes.strays.take(most))
        if events.consents is None and events.strays is None and self._ready(events) is None:
            return False
        began = time.perf_counter()
        work, taken = self._fold_and_decide(events)
        computed = time.perf_counter() - began
        offsets = self.offsets.after(taken)
        if taken.count:
            await self._commit(work, offsets)
        self.applied, self.offsets = self.applied.after(taken), offsets
        self.inboxes.settle(taken)
        if self._waiting and (taken.transfers or taken.replays):
            self._meter.waited(time.monotonic() - self._waiting.since)
            self._waiting = None
        self._meter.round(work, taken, computed)
        return True

    def _fold_and_decide(self, events: RoundRecords) -> tuple[Round, RoundRecords]:
        """Do steps 3 and 4 of a round; returns what it writes, and what it took: the rest waits again."""
        ready = self._ready(events)
        work = self._round_at(ready.at if ready else self._clock())
        events = RoundRecords(
            consents=self._take_part(events.consents, self.inboxes.consents, work.fold),
            strays=self._take_part(events.strays, self.inboxes.strays, work.fold_strays),
        )
        transfers: Fetched | None = None
        replays: Fetched | None = None
        ready = self._ready(events)  # no longer, if the round folded less
        if ready:
            known = self.applied.after(events).consents or 0
            transfers = self._take_part(
                ready.transfers, self.inboxes.transfers, lambda records: work.decide(records, known)
            )
            work.bring(ready.originals)
            replays = self._take_part(ready.replays, self.inboxes.replays, lambda records: work.replay(records, known))
        work.close()
        return work, RoundRecords(events.consents, transfers, replays, events.strays)

    def _round_at(self, at: dt.datetime) -> Round:
        work = Round(
            self._book,
            self._tables,
            self.number,
            at,
            self._shared.sealing,
            self._origins,
            self._shared.timer,
            self._share.now,
            first=self._first,
        )
        work.ignore_before(self._sweep.forgotten_before(at))
        return work

    def _ready(self, events: RoundRecords) -> Waiting | None:
        """What waits in front of the barrier, if these events are the last that it waits for."""
        waiting = self._waiting
        return waiting if waiting and self.applied.after(events).cover(waiting.need) else None

    async def _until_room(self) -> bool:
        """Wait until the outputs of other partitions leave room for a round, and hold that the logs are whole; False
        when there is only to leave.
        """
        while not self._leaving:
            await self._room.wait()
            await self._logs.require_whole()
            if self._room.free:
                return True  # nothing is waited for between this look and the end of the decisions
        return False

    def drop(self) -> None:
        """Let go of what waits, so that it counts no more."""
        self.inboxes.drop()

    async def _meet_barrier(self) -> Waiting | None:
        """Take what is to be decided next; None when nothing waits. Raises RoundFailed."""
        most, inboxes = self._share.of(self._shared.round_records), self.inboxes
        taken = RoundRecords(transfers=inboxes.transfers.take_records(most), replays=inboxes.replays.take_records(most))
        if not taken.count:
            self.offsets = self.offsets.after(taken)  # only markers were passed
            return None
        transfers, replays = taken.transfers, taken.replays
        found = NOTHING_FOUND
        if replays is not None and replays.records and self._shared.originals is not None:
            try:
                count, found = await self._shared.originals.of(replays.records)
            except (BrokerUnavailable, AccessDenied) as error:
                raise RoundFailed(f"originals of replays can't be read: {summary(error)}") from error
            replays = self._take_part(replays, inboxes.replays, lambda _: count)
        at, since = self._clock(), time.monotonic()
        fetched = ConsentEnds(inboxes.consents.position, inboxes.strays.position)
        need = ConsentEnds(*await self._watermark.ends(self.number))
        for topic, position, end in zip((self._book.consents, self._book.strays), fetched, need, strict=True):
            if position is not None and end is not None and end < position:
                # Else any position would seem enough. The topic was cut, or a deposed leader answered: the take-over
                # finds out which.
                raise RoundFailed(f"{topic}: records end at {end}, but were fetched up to {position}")
        return Waiting(transfers, replays, at, since, need, found)

    def _take_part(
        self, taken: Fetched | None, inbox: Inbox, work: Callable[[Sequence[Record]], int]
    ) -> Fetched | None:
        """What the round folds or decides of `taken`. The rest waits again, transfers for a barrier of their own."""
        if taken is None:
            return None
        count = work(taken.records)
        if count == len(taken.records):
            return taken
        taken, rest = taken.split(count)
        inbox.put_back(rest)
        return taken

    async def _commit(self, work: Round, offsets: Offsets) -> None:
        """Do steps 5 and 6 of a round. All offsets go with every round: a note stands beside that of consents."""
        began = time.monotonic()
        elsewhere = tuple(work.elsewhere.values())
        with self._room.hold(work.batches.size() + sum(batches.size() for batches in elsewhere)):
            written = await self._writer.produce(work.batches, *elsewhere)
            note = self._note(offsets, written)
            # Brokers forget the offset of a topic that is deleted, and its note: one stands with a log of our own, too.
            reached = {**offsets.known(self._book), self._book.ledger: note.ledger_end}
            await self._writer.commit(self.number, reached, str(note))
        self._share.committed()
        self._first = False
        # Only now the tables may know: a transaction that failed leaves them as they were.
        for table, changes, end in (
            (self._tables.consent, work.changes, note.changelog_end),
            (self._tables.ledger, work.ledger_changes, note.ledger_end),
        ):
            if changes or end != table.position:
                table.update(changes, end)
        self.offsets = self._committed = offsets
        self._meter.committed(time.monotonic() - began)

    def _note(self, offsets: Offsets, written: Mapping[Place, Written]) -> CommitNote:
        """What stands beside the offsets of this round. Raises HistoryLost."""
        reached = offsets.known(self._book)
        lives = {
            topic: life._replace(epoch=self.inboxes[topic].epoch_before(reached[topic])) if topic in reached else life
            for topic, life in self._note_before.topics.items()
        }
        return replace(
            self._note_before,
            life=self._tables.consent.life,
            changelog_end=self._reach(self._book.changelog, self._tables.consent, written),
            ledger_end=self._reach(self._book.ledger, self._tables.ledger, written),
            topics=lives,
            offsets=reached,
        )

    def _reach(self, topic: str, table: Slice, written: Mapping[Place, Written]) -> int:
        """Offset up to which a log reaches with the records of this round. Raises HistoryLost."""
        if (records := written.get((topic, self.number))) is None:
            return table.position
        # Only this partition writes here: where these records begin below what the table holds, the log lost its tail.
        require_log(topic, self.number, table.position, records.begin, 0, records.begin)
        return records.end
