"""One partition, one owner, one transaction at a time: fold, wait at the barrier, decide, commit."""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from aiokafka.errors import KafkaError
from msgspec.structs import replace

from transfer_gate.gate.barrier import Taken, Waiting
from transfer_gate.gate.inbox import Inbox, Reached, Record
from transfer_gate.gate.integrity.commit_note import Origins
from transfer_gate.gate.integrity.inputs import InputLogs, LeaderEpochs, Watermark
from transfer_gate.gate.integrity.logs import require_log
from transfer_gate.gate.memory import InboxBudget, OutputRoom, Share
from transfer_gate.gate.monitoring import Meter, Standing
from transfer_gate.gate.originals import NOTHING_FOUND, Originals
from transfer_gate.gate.retention import Expired, Retention, Sweep
from transfer_gate.gate.round import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import Slice, Tables
from transfer_gate.kafka.batches import Batches
from transfer_gate.kafka.coordinator import RoundFailed
from transfer_gate.kafka.produce import Written
from transfer_gate.observe.tracebacks import summary
from transfer_gate.records.commit_notes import CommitNote
from transfer_gate.records.sealing import UNSEALED, Sealing

logger = logging.getLogger(__name__)

#: How long a round that runs may take to end when the partition is given up, seconds.
RELEASE_SECONDS: Final = 5.0
#: A position that moved without records is committed alone when no round came within this time, seconds.
QUIET_SECONDS: Final = 1.0


class Writer(Protocol):
    """Who writes a round: all of it in one transaction, or nothing. See `TransactionalWriter`."""

    async def commit(
        self,
        batches: Batches,
        offsets: Mapping[str, int],
        notes: Callable[[], Mapping[str, str]],
        elsewhere: Sequence[Batches] = (),
    ) -> None:
        """Produce `batches` and `elsewhere`, ask for the notes, commit the offsets with them. Raises RoundFailed."""

    def written_to(self, topic: str) -> Written | None:
        """Where the records stand that the latest round wrote to `topic`; None when that is not known."""


class Partition:
    """Decides the transfers of one partition for as long as this worker owns it.

    Raises out of `run`: RoundFailed and Fenced when ownership or the outcome of a commit is in doubt; GateError when
    nothing but a person can help.
    """

    def __init__(
        self,
        number: int,
        book: Rulebook,
        tables: Tables,
        writer: Writer,
        watermark: Watermark,
        meter: Meter,
        *,
        committed: Mapping[str, int],
        round_records: int,
        inbox_records: int,
        clock: Callable[[], dt.datetime],
        timer: Callable[[], float] = time.perf_counter,
        sealing: Sealing = UNSEALED,
        note: CommitNote | None = None,
        epochs: LeaderEpochs | None = None,
        budget: InboxBudget | None = None,
        room: OutputRoom | None = None,
        share: Share | None = None,
        retention: Retention | None = None,
        originals: Originals | None = None,
        first: bool = False,
    ) -> None:
        """`note`: what every commit notes, its ends and leader epochs apart. `budget` and `room` are shared by all
        partitions of a worker; `share` outlives this owner. `retention`: of quarantine; without, nothing is swept.
        `originals`: of what is quarantined by reference; without, none is read.
        `first`: the group has not committed anything in this partition, or nothing to its changelog.
        """
        self._originals = originals
        self._first = first
        self._room = room or OutputRoom()
        self._share = share or Share()
        self.number = number
        # Nothing below what the group committed is ever taken again, whatever the consumer fetches.
        known = {topic: life.epoch for topic, life in note.topics.items()} if note else {}
        self.inboxes = {
            topic: Inbox(
                inbox_records, committed.get(topic), known.get(topic, -1), budget, first=topic in book.waited_for
            )
            for topic in book.inputs
        }
        #: Consent events below this offset are applied; None until the first fetch told where we stand.
        self.applied: int | None = None
        #: The same of consent events that came home.
        self.strays_applied: int | None = None
        #: By input topic: what is below this offset is done with; None before the first, when none was before.
        self._done = {topic: committed.get(topic) for topic in self.inboxes}
        self._book = book
        self._tables = tables
        self._sealing = sealing
        self._note = note or CommitNote(tables.consent.life)
        self._origins = Origins.of(book, self._note)
        self._writer = writer
        self._watermark = watermark
        self._meter = meter
        self._round_records = round_records
        self._clock = clock
        self._timer = timer
        self._sweep = Sweep(retention, tables)
        self._logs = InputLogs(number, (book.consents, book.strays), self.inboxes, watermark, epochs)
        self._work = asyncio.Event()
        self._leaving = False
        self._waiting: Waiting | None = None
        #: What the group has committed of `_done`. Positions that moved over control and aborted records only are
        #: committed too: once the log is cleaned up they would look like events that were deleted unread.
        self._committed = dict(self._done)

    def receive(
        self,
        topic: str,
        records: Sequence[Record],
        end: int,
        epochs: Sequence[Reached] = (),
        hole: tuple[int, int] | None = None,
    ) -> None:
        """Take one fetch of an input topic. `hole`: offsets of its log, from the first to before the second, some of
        which are missing. Raises ValueError when its offsets or leader epochs go backwards.
        """
        self.inboxes[topic].put(records, end, epochs)
        self._logs.take_hole(topic, hole)
        self._work.set()

    def leave(self) -> None:
        """End after the round that runs; what waits is left to the next owner."""
        self._leaving = True
        self._work.set()

    @property
    def decides(self) -> bool:
        """Whether consent is known up to some position, so that transfers can be decided."""
        return self.applied is not None and self.strays_applied is not None

    async def run(self) -> None:
        """Work until told to leave."""
        while not self._leaving:
            await self._until_work()
            await self.work()

    async def work(self) -> None:
        """Rounds, one transaction each, until there is only to wait, or to leave. Raises as `run` does."""
        while await self._round():
            await self._sweep_if_due(idle=False)

    @property
    def standing(self) -> Standing:
        """For whoever watches."""
        waiting = self._waiting
        first = waiting.transfers[0][0].timestamp if waiting and waiting.transfers else None
        return Standing(
            number=self.number,
            applied=self.applied,
            positions=dict(self._done),
            inbox={topic: inbox.waiting for topic, inbox in self.inboxes.items()},
            waiting=waiting.count if waiting else 0,
            since=waiting.since if waiting else None,
            oldest=self.inboxes[self._book.transfers].oldest if first is None else first,
            prospects=len(self._tables.consent),
        )

    async def _until_work(self) -> None:
        try:
            await asyncio.wait_for(self._work.wait(), QUIET_SECONDS)
        except TimeoutError:
            self._work.clear()  # before the commit: what comes in meanwhile must wake us again
            if self._done != self._committed:
                work = self._empty_round()
                work.close()
                await self._commit(work, {})
            await self._sweep_if_due(idle=self.decides)
        else:
            self._work.clear()

    def _empty_round(self) -> Round:
        return Round(
            self._book, self._tables, self.number, self._clock(), self._sealing, self._origins, first=self._first
        )

    async def _sweep_if_due(self, *, idle: bool) -> None:
        """Forget what quarantine has deleted, in transactions of their own."""
        if self._leaving or not self._sweep.due(self._clock, idle=idle):
            return
        for expired in await self._sweep.expired(self._clock()):
            await self._forget(expired)

    async def _forget(self, expired: Expired) -> None:
        work = self._empty_round()
        work.sweep(expired.owners, expired.quarantine_ids)
        work.close()
        if not self._leaving and (work.changes or work.ledger_changes):
            await self._commit(work, {})

    async def _round(self) -> bool:
        """One transaction, if there is something to write; False when there is only to wait, or to leave."""
        if self._leaving:
            return False
        if self._waiting is None:
            self._waiting = await self._meet_barrier()
        if not await self._until_room():
            return False
        consents = self.inboxes[self._book.consents].take(self._share.of(self._round_records))
        strays = self.inboxes[self._book.strays].take(self._share.of(self._round_records))
        ready = self._ready(consents, strays)
        if consents is None and strays is None and ready is None:
            return False
        at = ready.at if ready else self._clock()
        began = time.perf_counter()
        work = Round(
            self._book,
            self._tables,
            self.number,
            at,
            self._sealing,
            self._origins,
            self._timer,
            self._share.now,
            first=self._first,
        )
        work.ignore_before(self._sweep.forgotten_before(at))
        offsets: dict[str, int] = {}
        transfers: Taken | None = None
        replays: Taken | None = None
        if consents:
            consents = self._rest_back(self._book.consents, consents, work.fold)
            offsets[self._book.consents] = consents[1]
        if strays:
            strays = self._rest_back(self._book.strays, strays, work.fold_strays)
            offsets[self._book.strays] = strays[1]
        ready = self._ready(consents, strays)  # no longer, if the round folded less
        position = consents[1] if consents else self.applied
        known = position or 0
        if ready and ready.transfers:
            transfers = self._rest_back(
                self._book.transfers, ready.transfers, lambda records: work.decide(records, known)
            )
            offsets[self._book.transfers] = transfers[1]
        if ready and ready.replays:
            work.bring(ready.originals)
            replays = self._rest_back(self._book.replay, ready.replays, lambda records: work.replay(records, known))
            offsets[self._book.replay] = replays[1]
        work.close()
        computed = time.perf_counter() - began
        if (consents and consents[0]) or (strays and strays[0]) or ready:
            await self._commit(work, offsets)
        self.applied, self.strays_applied = position, strays[1] if strays else self.strays_applied
        self._done |= offsets
        for topic in offsets:
            self.inboxes[topic].settle()
        if ready:
            self._waiting = None
            self._meter.waited(time.monotonic() - ready.since)
        self._meter.round(
            work,
            consents[0] if consents else (),
            transfers[0] if transfers else (),
            replays[0] if replays else (),
            computed,
        )
        return True

    def _ready(self, consents: Taken | None, strays: Taken | None) -> Waiting | None:
        """What waits in front of the barrier, if these events are the last that it waits for."""
        position = consents[1] if consents else self.applied
        brought = strays[1] if strays else self.strays_applied
        return self._waiting if self._waiting and self._waiting.covered(position, brought) else None

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
        for inbox in self.inboxes.values():
            inbox.drop()

    async def _meet_barrier(self) -> Waiting | None:
        transfers = self._taken(self._book.transfers)
        replays = self._taken(self._book.replay)
        if transfers is None and replays is None:
            return None
        found = NOTHING_FOUND
        if replays is not None and self._originals is not None:
            try:
                count, found = await self._originals.of(replays[0])
            except KafkaError as error:
                raise RoundFailed(f"originals of replays can't be read: {summary(error)}") from error
            replays = self._rest_back(self._book.replay, replays, lambda _: count)
        at, since = self._clock(), time.monotonic()
        topics = (self._book.consents, self._book.strays)
        reached = [self.inboxes[topic].position for topic in topics]
        need, need_strays = await self._watermark.ends(self.number)
        for topic, fetched, end in zip(topics, reached, (need, need_strays), strict=True):
            if fetched is not None and end < fetched:
                # Else any position would seem enough. The topic was cut, or a deposed leader answered: the take-over
                # tells.
                raise RoundFailed(f"{topic}: records end at {end}, but were fetched up to {fetched}")
        return Waiting(transfers, replays, at, since, need, need_strays, found)

    def _taken(self, topic: str) -> Taken | None:
        """Records for the next round; None when there are none, be it that only markers were passed."""
        while (taken := self.inboxes[topic].take(self._share.of(self._round_records))) and not taken[0]:
            self._done[topic] = taken[1]
        return taken

    def _rest_back(self, topic: str, taken: Taken, work: Callable[[Sequence[Record]], int]) -> Taken:
        """What the round folds or decides of `taken`. The rest waits again, transfers for a barrier of their own."""
        records, end = taken
        count = work(records)
        if count == len(records):
            return taken
        self.inboxes[topic].put_back(records[count:], end)
        return records[:count], records[count].offset

    async def _commit(self, work: Round, offsets: Mapping[str, int]) -> None:
        began = time.monotonic()
        # All offsets go with every round: a note stands beside that of consents.
        reached = {topic: end for topic, end in {**self._done, **offsets}.items() if end is not None}
        elsewhere = tuple(work.elsewhere.values())
        with self._room.hold(work.batches.size() + sum(batches.size() for batches in elsewhere)):
            await self._writer.commit(work.batches, reached, lambda: self._notes(reached), elsewhere)
        self._share.committed()
        self._first = False
        # Only now the table may know: a failed transaction leaves it as it was.
        for topic, table, changes in (
            (self._book.changelog, self._tables.consent, work.changes),
            (self._book.ledger, self._tables.ledger, work.ledger_changes),
        ):
            reach = self._reach(topic, table)
            if reach != table.position:
                table.update(changes, reach)
        self._done |= reached
        self._committed = dict(self._done)
        self._meter.committed(time.monotonic() - began)

    def _notes(self, reached: Mapping[str, int]) -> Mapping[str, str]:
        lives = {
            topic: life._replace(epoch=self.inboxes[topic].epoch_before(reached[topic])) if topic in reached else life
            for topic, life in self._note.topics.items()
        }
        changelog = self._reach(self._book.changelog, self._tables.consent)
        ledger = self._reach(self._book.ledger, self._tables.ledger)
        note = replace(
            self._note, life=self._tables.consent.life, changelog_end=changelog, ledger_end=ledger, topics=lives
        )
        return dict.fromkeys(self._book.inputs, str(note))

    def _reach(self, topic: str, table: Slice) -> int:
        """Offset up to which a log reaches with the records of this round. Raises HistoryLost."""
        if (written := self._writer.written_to(topic)) is None:
            return table.position
        # Nobody else writes here. Should these records begin below what the table holds, a tail of the log was lost.
        require_log(topic, self.number, table.position, written.begin, 0, written.begin)
        return written.end
