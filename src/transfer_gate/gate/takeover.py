"""Taking partitions over: shut earlier owners out, read what the group has committed and noted, compare it with the
topics as they are, bring the tables up to date. What does not fit stops its partition before it decides anything.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Mapping
from operator import attrgetter
from typing import Any, Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.errors import GateError
from transfer_gate.gate.integrity.commit_note import read_note
from transfer_gate.gate.integrity.identity import TopicGuard, partitions_changed, require_order
from transfer_gate.gate.integrity.logs import require_epoch, require_events, require_same_log
from transfer_gate.gate.integrity.offsets import (
    lacking_offsets,
    offsets_lost,
    offsets_set,
    read_evidence,
    require_history_home,
    require_not_again,
    require_nothing_skipped,
    require_offsets,
)
from transfer_gate.gate.members import require_own_members
from transfer_gate.gate.monitoring import Deleted
from transfer_gate.gate.partition import Writer
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, Slice, SliceFactory, Tables, restore
from transfer_gate.kafka.batches import Batches
from transfer_gate.kafka.clients import passes, require_descriptors
from transfer_gate.kafka.coordinator import Committed, PartitionStops, RoundFailed, subscriptions_of
from transfer_gate.kafka.log_reader import ends_of
from transfer_gate.kafka.topic_watch import Identities, TopicWatch
from transfer_gate.kafka.transaction import TransactionalWriter
from transfer_gate.kafka.watermarks import Watermarks
from transfer_gate.observe import metrics
from transfer_gate.records.commit_notes import CommitNote, LogIdentity, identity_after
from transfer_gate.records.state import STATE_FORMAT, StateTooNew, format_too_new
from transfer_gate.settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")
#: What keeps one partition from going on, and no other.
STOPS: Final = (PartitionStops, StateTooNew)


def _restored(number: int, left: int, read: int) -> None:
    metrics.RESTORE_REMAINING.labels(str(number)).set(left)
    metrics.RESTORED.inc(read)


class Owned(Struct, frozen=True):
    """A partition that may go on: what the group has committed of it, by topic, what every commit will note, and by
    what it is written.
    """

    committed: Mapping[str, Committed]
    note: CommitNote
    tables: Tables
    writer: Writer


class TakenOver(Struct, frozen=True):
    """The outcome of a take-over. `identities`: the topics that it was compared with; `records`: how many of changelog
    and ledger were read.
    """

    identities: Identities
    owned: Mapping[int, Owned]
    stopped: Mapping[int, GateError]
    records: int
    partition_count: int


#: What a worker takes over that is given no partition.
NOTHING_TAKEN: Final = TakenOver({}, {}, {}, 0, 0)


class TakeOver:
    """Takes partitions over, and keeps for each of them its writer and its two tables."""

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        book: Rulebook,
        new_slice: SliceFactory,
        *,
        watch: TopicWatch,
        guard: TopicGuard,
        watermarks: Watermarks,
        deleted: Deleted,
        clock: Callable[[], dt.datetime],
        allow_older_registry: bool,
    ) -> None:
        """`new_slice` makes the tables of a partition; `guard` compares the topics with those of the last take-over."""
        self._settings = settings
        self._options = options
        self._book = book
        self._new_slice = new_slice
        self._watch = watch
        self._guard = guard
        self._watermarks = watermarks
        self._deleted = deleted
        self._clock = clock
        self._allow_older_registry = allow_older_registry
        #: The consent table by partition.
        self._slices: dict[int, Slice] = {}
        #: The replay ledger by partition.
        self._ledgers: dict[int, Slice] = {}
        self._writers: dict[int, TransactionalWriter] = {}
        #: By partition: the note of the last commit, and which of its name each input topic is.
        self._notes: dict[int, CommitNote] = {}
        self._lives: dict[int, dict[str, LogIdentity]] = {}
        #: By partition: input topic to its last commit and the offset that an operator set since.
        self._moved: dict[int, dict[str, tuple[int, int]]] = {}
        self._stopped: dict[int, GateError] = {}

    def begin(self) -> None:
        """Begin anew: what the topics were compared with holds no more. Raises GateError without file descriptors."""
        require_descriptors()
        self._guard.expect(None)

    def restored(self, number: int) -> int | None:
        """Offset up to which the changelog of a partition is held; None where nothing is held."""
        table = self._slices.get(number)
        return None if table is None else table.position

    async def keep(self, numbers: set[int], stopped: set[int]) -> None:
        """Give up writers and tables of all partitions but these, and the tables of those that have stopped."""
        self._close_tables(stopped & set(self._slices))
        self._close_tables(set(self._slices) - numbers)
        for gone in set(self._writers) - numbers:
            await self._writers.pop(gone).close()

    async def close(self) -> None:
        """Give everything up."""
        self._close_tables(set(self._slices))
        for writer in self._writers.values():
            await writer.close()

    async def run(self, numbers: set[int]) -> TakenOver:
        """Fence, read what is committed, compare, restore.

        Raises GateError when only a person can help, whatever the partition; RoundFailed when the cluster does not
        answer.
        """
        try:
            taken = await self._run(numbers)
        except RoundFailed:
            raise
        except Exception as error:
            if not passes(error):
                raise
            raise RoundFailed(f"no answer: {type(error).__name__}") from error
        self._guard.expect(taken.identities)
        return taken

    async def _run(self, numbers: set[int]) -> TakenOver:
        self._stopped = {}
        topics = self._book.outputs
        for number in numbers - set(self._writers):
            self._writers[number] = TransactionalWriter(
                self._options,
                f"{self._settings.app_id}-{number}",
                self._settings.app_id,
                self._settings.transaction_timeout_seconds,
            )
        identities = await self._watch.look()
        former = await self._watch.others(self._book.former_outputs, topics)
        await self._each(numbers, lambda number: self._writers[number].fence(topics, (self._book.strays,), former))
        committed = await self._committed(numbers - set(self._stopped), identities)
        await self._deleted.compare(committed)
        for number in set(committed) - set(self._slices):  # both or none, should one of them fail to open
            self._slices[number], self._ledgers[number] = (
                self._new_slice(topic, number) for topic in (self._book.changelog, self._book.ledger)
            )
        read = await self._catch_up(set(committed))
        for number in set(committed) - set(self._stopped):
            self._check(number, lambda number: self._require_known(number, committed[number], identities))
        # Faust would wait for ever until the table of a partition that has stopped is recovered.
        for number, end in (await ends_of(self._options, self._book.changelog, set(self._stopped))).items():
            self._close_tables({number} & set(self._slices))
            self._slices[number], self._ledgers[number] = MemorySlice(end), MemorySlice()
        owned = {
            number: Owned(
                found, self._notes[number], Tables(self._slices[number], self._ledgers[number]), self._writers[number]
            )
            for number, found in committed.items()
            if number not in self._stopped
        }
        return TakenOver(identities, owned, self._stopped, read, identities[self._book.transfers].partitions)

    async def _each(self, numbers: set[int], work: Callable[[int], Awaitable[T]]) -> dict[int, T]:
        """What `work` returns for each partition; one that can't go on is stopped and left out. Ends once **all** have
        ended: a fence that is left behind could undo a later one.
        """
        ordered = sorted(numbers)
        ended = await asyncio.gather(*map(work, ordered), return_exceptions=True)
        done: dict[int, T] = {}
        errors: list[BaseException] = []
        for number, result in zip(ordered, ended, strict=True):
            if isinstance(result, STOPS):
                self._stopped[number] = result
            elif isinstance(result, BaseException):
                errors.append(result)
            else:
                done[number] = result
        if errors:
            raise min(errors, key=lambda error: not isinstance(error, GateError))
        return done

    def _check(self, number: int, check: Callable[[int], None]) -> None:
        try:
            check(number)
        except STOPS as error:
            self._stopped[number] = error

    def _require_known(self, number: int, committed: Mapping[str, Committed], identities: Identities) -> None:
        """Hold that the logs are those of the last commit, all of them, and that the group knows where it stands.
        Raises HistoryLost, OffsetsLost.
        """
        note = self._notes[number]
        tables = (self._slices[number], self._ledgers[number])
        has_state = any(next(iter(table.items()), None) is not None for table in tables)
        for topic, reach in ((self._book.changelog, note.changelog), (self._book.ledger, note.ledger)):
            require_same_log(topic, number, note.topics.get(topic), identities[topic].topic_id, reach.end)
        require_offsets(self._book.transfers, number, committed, has_state=has_state)
        known = self._lives[number]
        lives = {topic: known.get(topic) or LogIdentity(found.topic_id) for topic, found in identities.items()}
        self._notes[number] = replace(
            note,
            partitions=identities[self._book.transfers].partitions,
            topics=lives,
            registry=self._book.registry_order,
            state_format=STATE_FORMAT,
        )

    def _close_tables(self, numbers: set[int]) -> None:
        for number in numbers:
            self._slices.pop(number).close()
            self._ledgers.pop(number).close()

    async def _catch_up(self, numbers: set[int]) -> int:
        """Bring both tables of every partition up to the ends of their topics; returns the records read."""
        metrics.RESTORE_REMAINING.clear()
        if not numbers:
            return 0
        metrics.RESTORING.set(len(numbers))
        try:
            try:
                read = await self._restore(numbers)
            except STOPS:
                # One of them: each for itself, so that the others go on.
                read = sum((await self._each(numbers, lambda number: self._restore({number}))).values())
            for number in numbers:
                metrics.RESTORE_REMAINING.labels(str(number)).set(0)
        finally:
            metrics.RESTORING.set(0)
        return read

    async def _restore(self, numbers: set[int]) -> int:
        read = 0
        for topic, tables, reach in (
            (self._book.changelog, self._slices, attrgetter("changelog")),
            (self._book.ledger, self._ledgers, attrgetter("ledger")),
        ):
            reaches = {number: reach(self._notes[number]) for number in numbers}
            slices = {number: tables[number] for number in numbers}
            rack = self._settings.client_rack
            read += await restore(self._options, topic, slices, reaches, _restored, rack=rack)
        return read

    async def _committed(self, numbers: set[int], identities: Identities) -> dict[int, dict[str, Committed]]:
        """What the group has committed of each partition that may go on; a topic that was made anew is begun anew."""
        ids = {topic: found.topic_id for topic, found in identities.items()}

        async def read(number: int) -> dict[str, Committed]:
            committed = await self._writers[number].committed(self._book.noted, number)
            note = self._notes[number] = evidence.note(number, committed)
            if lacking:
                raise offsets_lost(self._book.transfers, number, lacking)
            evidence.require(number, committed)
            committed.pop(self._book.ledger, None)
            if note.state_format > STATE_FORMAT:
                raise format_too_new(f"the group's note of partition {number}", note.state_format)
            for registry in registries:
                self._require_order(number, registry)
            moved = self._moved[number] = offsets_set(committed, note, ids)
            for topic in (self._book.consents, self._book.strays):
                require_nothing_skipped(topic, number, moved.get(topic))
            return await self._begin_anew(number, committed, note, ids)

        self._notes, self._lives, self._moved = {}, {}, {}
        if not numbers:
            return {}
        writer = self._writers[min(numbers)]
        members = subscriptions_of(await writer.describe_group())
        require_own_members(self._settings.app_id, self._book.inputs, members)
        known = await writer.committed_anywhere()
        registries = self._registries(known, identities)
        lacking = await lacking_offsets(writer, self._options, self._book, identities, known)
        evidence = await read_evidence(self._settings, self._options, identities, known, numbers)
        committed = await self._each(numbers, read)
        begins = await self._watermarks.all_begins(set(committed)) if committed else {}

        async def no_hole(number: int) -> dict[str, Committed]:
            ends = await self._watermarks.ends(number)
            topics = (self._book.consents, self._book.strays)
            for topic, begin, end in zip(topics, begins[number], ends, strict=True):
                folded = committed[number].get(topic)
                require_events(topic, number, folded.offset if folded else None, begin, end)
            return committed[number]

        committed = await self._each(set(committed), no_hole)
        await self._each(set(committed), lambda number: self._require_epochs(number, committed[number]))
        return {number: found for number, found in committed.items() if number not in self._stopped}

    async def _require_epochs(self, number: int, committed: Mapping[str, Committed]) -> None:
        """Hold that what the group has taken of each input stands there still (KIP-320), and that the offset of
        transfers was not set back before it. Raises HistoryLost, OffsetMoved.
        """
        lives = self._lives[number]
        wanted = {(topic, number): lives[topic].epoch for topic in committed if lives[topic].epoch >= 0}
        ends = await self._watch.epoch_ends(wanted) if wanted else {}
        for (topic, _), end in ends.items():
            require_epoch(topic, number, lives[topic].epoch, committed[topic].offset, end)
        transfers = self._book.transfers
        moved = self._moved[number].get(transfers)
        require_not_again(transfers, number, moved, ends.get((transfers, number)))
        if moved is not None and moved[1] > moved[0]:
            logger.warning(
                "transfers will not be decided: the group's offset was set from %d to %d",
                *moved,
                extra={"topic": transfers, "partition": number},
            )

    def _registries(self, committed: Mapping[tuple[str, int], Committed], identities: Identities) -> list[str]:
        """By which registries the group has decided last, newest first, as noted in **any** partition: a partition that
        was never decided has no note, and stands among others that were.

        Raises PartitionsChanged when one was decided under another partition count, HistoryNotHome.
        """
        notes = [read_note(found) for (topic, _), found in committed.items() if topic in self._book.noted]
        found = identities[self._book.transfers].partitions
        for note in notes:
            if note is not None and note.partitions and note.partitions != found:
                raise partitions_changed(note.partitions, found)
        by_partition: dict[int, dict[str, Committed]] = {}
        for (topic, number), offset in committed.items():
            by_partition.setdefault(number, {})[topic] = offset
        consents = identities[self._book.consents]
        require_history_home(self._book.consents, by_partition, consents.topic_id, consents.partitions)
        return sorted({note.registry for note in notes if note is not None and note.registry}, reverse=True)

    def _require_order(self, number: int, theirs: str) -> None:
        """Hold that no newer registry has decided in this group. Raises RegistryOlder."""
        if not self._allow_older_registry:
            require_order(f"partition {number}", self._book.registry_order, theirs)

    async def _begin_anew(
        self, number: int, committed: dict[str, Committed], note: CommitNote, ids: Mapping[str, str]
    ) -> dict[str, Committed]:
        """Number the lives of the input topics, and set the group's offset of one that was made anew to its beginning,
        before the consumer requests it.
        """
        lives = self._lives[number] = {
            topic: identity_after(note.topics.get(topic), ids[topic]) for topic in self._book.inputs
        }
        anew = [topic for topic, life in lives.items() if life.topic_id != note.topics.get(topic, life).topic_id]
        if anew:
            logger.warning(
                "input topics were deleted and made anew: they are read from their beginning, under new names",
                extra={"partition": number, "topics": ", ".join(anew)},
            )
        elif not (self._allow_older_registry and committed and note.registry > self._book.registry_order):
            return committed
        # A rollback is noted at once, also where nothing comes in: no later worker needs the permission once more.
        offsets = {topic: found.offset for topic, found in committed.items()} | dict.fromkeys(anew, 0)
        kept = replace(note, topics={**note.topics, **lives}, registry=self._book.registry_order, offsets=offsets)
        await self._writers[number].produce(Batches(number, int(self._clock().timestamp() * 1000)))
        await self._writers[number].commit(number, {**offsets, self._book.ledger: kept.ledger_end}, str(kept))
        return {topic: Committed(offset, str(kept)) for topic, offset in offsets.items()}
