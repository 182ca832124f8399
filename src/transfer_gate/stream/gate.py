"""The gate of one worker: its partitions, what happens to them at every rebalance, and how failures are met."""

import asyncio
import contextlib
import datetime as dt
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from operator import attrgetter
from typing import Any, Final, TypeVar

from faust.types import TP
from msgspec.structs import replace

from transfer_gate.errors import GateError
from transfer_gate.observe import metrics
from transfer_gate.observe.tracebacks import brief
from transfer_gate.settings import Settings
from transfer_gate.stream.barrier import Watermarks
from transfer_gate.stream.batches import Batches
from transfer_gate.stream.clients import passes, require_descriptors
from transfer_gate.stream.deleted import Deleted
from transfer_gate.stream.fetching import Fetch
from transfer_gate.stream.history import HistoryLost, Life, Noted, note_of, require_events, require_offsets
from transfer_gate.stream.identity import (
    Identities,
    RegistryOlder,
    TopicWatch,
    change_between,
    identities_of,
    partitions_changed,
)
from transfer_gate.stream.lag import Lag
from transfer_gate.stream.meter import Meter
from transfer_gate.stream.partition import RELEASE_SECONDS, Partition
from transfer_gate.stream.restore import ends_of, restore
from transfer_gate.stream.rounds import Tables
from transfer_gate.stream.rulebook import Rulebook
from transfer_gate.stream.slices import MemorySlice, Slice
from transfer_gate.stream.standing import tell
from transfer_gate.stream.table import SliceFactory
from transfer_gate.stream.transaction import Committed, Fenced, PartitionStops, RoundFailed, TransactionalWriter
from transfer_gate.wire.sealing import Sealing
from transfer_gate.wire.state import StateTooNew

logger = logging.getLogger(__name__)

#: Between two tries to take partitions over while the cluster does not answer, seconds.
AGAIN_SECONDS: Final = 1.0
#: Between two looks at the identity of the topics while nothing is decided, seconds; a decision looks by itself.
IDENTITY_SECONDS: Final = 2.0
T = TypeVar("T")


def utc_now() -> dt.datetime:
    """The clock of a worker."""
    return dt.datetime.now(dt.UTC)


def _restored(number: int, left: int, read: int) -> None:
    metrics.RESTORE_REMAINING.labels(str(number)).set(left)
    metrics.RESTORED.inc(read)


def _word(error: GateError) -> str:
    """The kind of an error, as a label: `history-lost`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()


class Gate:
    """Owns a Partition for every partition assigned to this worker.

    `rejoin` asks the group for a new round: the way out of every doubt about a commit, because it fences, catches
    up and reads the committed offsets again. `crash` ends the worker with an error that only a person can mend.
    """

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        book: Rulebook,
        slices: dict[int, Slice],
        new_slice: SliceFactory,
        *,
        sealing: Sealing,
        rejoin: Callable[[], Any],
        crash: Callable[[BaseException], Any],
        clock: Callable[[], dt.datetime] = utc_now,
        allow_older_registry: bool = False,
    ) -> None:
        self._settings = settings
        self._options = options
        self._book = book
        #: The consent table and the replay ledger, by partition; the former is also what Faust's table looks at.
        self._slices = slices
        self._ledgers: dict[int, Slice] = {}
        self._new_slice = new_slice
        self._sealing = sealing
        self._rejoin = rejoin
        self._crash = crash
        self._clock = clock
        self._writers: dict[int, TransactionalWriter] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self.partitions: dict[int, Partition] = {}
        self._allow_older_registry = allow_older_registry
        #: The topics of the last take-over; None while partitions are taken over.
        self._identities: Identities | None = None
        self._watching: asyncio.Task[None] | None = None
        #: By partition: the note of the last commit, and which of its name each input topic is.
        self._notes: dict[int, Noted] = {}
        self._lives: dict[int, dict[str, Life]] = {}
        self._partition_count = 0
        #: Partitions that can't go on, and why; until the next assignment.
        self.stopped: dict[int, GateError] = {}
        watched = (*book.inputs, book.changelog, book.ledger)
        self._watch = TopicWatch(options, watched)
        self.watermarks = Watermarks(options, (book.consents, book.strays), watched, self._change)
        self._lag = Lag(options, book.inputs)
        self._meter = Meter(book)
        self._deleted = Deleted(self._lag, (book.transfers, book.replay))
        #: Whether the partitions that the group gave us are open; False from a revocation to the end of the next
        #: restore.
        self.assigned = False

    async def start(self) -> None:
        """Connect what all partitions share."""
        await self.watermarks.start()
        await self._watch.start()
        self._watching = asyncio.create_task(self._follow_identities(), name="identities")
        await self._lag.start(lambda: self.partitions)
        self._deleted.start()

    async def close(self) -> None:
        """Give everything up."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        await self.release()
        self._close_tables(set(self._slices))
        await self._watch.close()
        for writer in self._writers.values():
            await writer.close()
        await self._deleted.close()
        await self._lag.close()
        await self.watermarks.close()

    @property
    def ready(self) -> bool:
        """Whether every assigned partition decides, and none has stopped. A worker without partitions is ready: it is a
        standby.
        """
        decides = all(partition.decides for partition in self.partitions.values())
        return self.assigned and not self.stopped and decides

    def why_not_ready(self) -> str:
        """A line for each partition that has stopped."""
        return "".join(f"partition {number}: {_word(error)}\n" for number, error in sorted(self.stopped.items()))

    def tell(self) -> None:
        """Set the gauges of this worker's partitions to what is so now."""
        tell((partition.standing for partition in self.partitions.values()), self._lag, ready=self.ready)
        metrics.STOPPED.clear()
        for number, error in self.stopped.items():
            metrics.STOPPED.labels(str(number), _word(error)).set(1)

    def _change(self, metadata: Any) -> Exception | None:
        """Why metadata of the topics keep this worker from deciding; None when they are those of the take-over."""
        return None if self._identities is None else change_between(self._identities, identities_of(metadata))

    async def _follow_identities(self) -> None:
        """Notice a topic that changes while nothing is decided."""
        while True:
            await asyncio.sleep(IDENTITY_SECONDS)
            known = self._identities
            if known is None:
                continue
            try:
                change = change_between(known, await self._watch.look())
            except RoundFailed as error:
                change = error
            except Exception as error:  # noqa: BLE001 - whoever only watches must not end
                logger.warning("the topics can't be looked at", extra={"error": brief(error)})
                continue
            if change is None or self._identities is not known:
                continue
            self._identities = None  # once
            if isinstance(change, GateError):
                await self.release()
                await self._crash(change)
            else:
                logger.warning("a topic has changed: rejoining the group", extra={"error": str(change)})
                self.assigned = False
                await self._rejoin()

    def may_fetch(self, tp: TP) -> bool:
        """Whether the inbox of this topic partition has room.

        Every topic has an inbox of its own: consents are fetched while transfers wait for them.
        """
        partition = self.partitions.get(tp.partition)
        if partition is None:
            return False
        return not partition.inboxes[tp.topic].full

    async def receive(self, topic: str, number: int, fetch: Fetch) -> None:
        """Pass one fetch to its partition."""
        partition = self.partitions.get(number)
        if partition is None:
            return  # given up meanwhile; the next owner reads it from the committed offset
        try:
            partition.receive(topic, fetch.records, fetch.end)
        except ValueError as error:
            await self._doubt(number, error)
            return
        if topic not in (self._book.consents, self._book.strays):  # what is missing of these stops the partition
            self._deleted.passed(topic, number, partition.inboxes[topic].take_passed())

    async def open(self, numbers: set[int]) -> bool:
        """Own these partitions, and no others: fence, catch the table up, decide.

        Fencing comes first: once `InitProducerId` returns, no earlier owner can commit, so the changelog's end and
        the committed offsets stand still (KIP-98). Partitions kept over a rebalance are fenced and caught up as
        well: somebody else may have owned them while this worker was cut off.

        Returns False, owning nothing, when the cluster did not answer: then ask the group for a new round, which shows
        whether the partitions are still ours. Raises GateError when nothing but a person can help.
        """
        require_descriptors()
        began = time.monotonic()
        self._identities = None
        await self.release()
        self._close_tables(set(self.stopped) & set(self._slices))
        self.stopped = {}
        self._close_tables(set(self._slices) - numbers)
        for gone in set(self._writers) - numbers:
            await self._writers.pop(gone).close()
        try:
            committed, read = await self._take_over(numbers) if numbers else ({}, 0)
            self._require_some_partition()
        except Exception as error:
            if not isinstance(error, RoundFailed) and not passes(error):
                raise
            logger.warning(
                "no answer while partitions %s were taken over: asking again",
                sorted(numbers),
                extra={"error": brief(error)},
            )
            await asyncio.sleep(AGAIN_SECONDS)
            return False
        metrics.REBALANCES.inc()
        metrics.ASSIGNMENT_SECONDS.observe(time.monotonic() - began)
        self.partitions = {number: self._new_partition(number, committed[number]) for number in sorted(committed)}
        for number, partition in self.partitions.items():
            self._running[number] = asyncio.create_task(self._run(partition), name=f"partition-{number}")
        self.assigned = True
        logger.info("deciding partitions %s (%d changelog records read)", sorted(committed), read)
        return True

    async def _take_over(self, numbers: set[int]) -> tuple[dict[int, dict[str, Committed]], int]:
        """Fence, read what is committed, restore; returns the committed offsets and how many records were restored."""
        topics = (
            self._book.changelog,
            self._book.ledger,
            self._book.quarantine,
            self._book.decisions,
            *self._book.partner_topics.values(),
        )
        for number in numbers - set(self._writers):
            self._writers[number] = TransactionalWriter(
                self._options,
                f"{self._settings.app_id}-{number}",
                self._settings.app_id,
                self._settings.transaction_timeout_seconds,
            )
        identities = await self._watch.look()
        await self._each(numbers, lambda number: self._writers[number].fence(topics, (self._book.strays,)))
        committed = await self._committed(numbers - set(self.stopped), identities)
        await self._deleted.tell(committed)
        for number in set(committed) - set(self._slices):  # both or none, should one of them fail to open
            self._slices[number], self._ledgers[number] = (
                self._new_slice(topic, number) for topic in (self._book.changelog, self._book.ledger)
            )
        read = await self._catch_up(set(committed))
        for number in committed:
            self._check(number, lambda number: self._require_known(number, committed[number], identities))
        # Faust would wait for ever until the table of a partition that has stopped is recovered.
        for number, end in (await ends_of(self._options, self._book.changelog, set(self.stopped))).items():
            self._close_tables({number} & set(self._slices))
            self._slices[number], self._ledgers[number] = MemorySlice(end), MemorySlice()
        self._identities = identities
        return {number: found for number, found in committed.items() if number not in self.stopped}, read

    async def _each(self, numbers: set[int], work: Callable[[int], Awaitable[T]]) -> dict[int, T]:
        """What `work` returns for each partition; one that can't go on is stopped and left out. Ends once **all** have
        ended: a fence that is left behind could undo a later one.
        """
        ordered = sorted(numbers)
        ended = await asyncio.gather(*map(work, ordered), return_exceptions=True)
        done: dict[int, T] = {}
        errors: list[BaseException] = []
        for number, result in zip(ordered, ended, strict=True):
            if isinstance(result, PartitionStops):
                self._stop(number, result)
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
        except PartitionStops as error:
            self._stop(number, error)

    def _require_known(self, number: int, committed: Mapping[str, Committed], identities: Identities) -> None:
        """Hold that the logs are those of the last commit, all of them, and that the group knows where it stands.
        Raises HistoryLost, OffsetsLost.
        """
        note = self._notes[number]
        worked = next(iter(self._slices[number].items()), None) is not None
        for topic in (self._book.changelog, self._book.ledger):
            life = note.topics.get(topic)
            if life is not None and life.topic_id != identities[topic].topic_id and note.changelog_end:
                raise HistoryLost(
                    f"partition {number} of {topic} is not the log that was committed to: the topic was deleted and "
                    "made anew, and what it held is gone: withdrawals and objections, or what was replayed",
                    do="stop all workers, see docs/reference/what-happens-when.md for having the history folded anew",
                )
        require_offsets(self._book.transfers, self._book.consents, number, committed, worked=worked)
        lives = {topic: self._lives[number].get(topic) or Life(identities[topic].topic_id) for topic in identities}
        self._notes[number] = replace(
            note,
            partitions=identities[self._book.transfers].partitions,
            topics=lives,
            registry=self._book.registry_order,
        )

    def _stop(self, number: int, error: GateError) -> None:
        """Let one partition stand still; the others go on."""
        self.partitions.pop(number, None)
        self.stopped[number] = error
        logger.error("partition %d has stopped: %s", number, error, extra={"partition": number, "reason": _word(error)})

    def _require_some_partition(self) -> None:
        """Raise why the last partition stopped when this worker has all of them, and none can go on."""
        if self.stopped and len(self.stopped) == self._partition_count:
            raise next(iter(self.stopped.values()))

    async def release(self) -> None:
        """End the rounds that run and give the partitions up; tables and connections stay for a quick return."""
        self.assigned = False
        running, self._running = self._running, {}
        for partition in self.partitions.values():
            partition.leave()
        if running:
            _, late = await asyncio.wait(running.values(), timeout=RELEASE_SECONDS)
            for task in late:
                task.cancel()  # its transaction is ended by the next owner's fence
            for task in late:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self.partitions = {}

    def _close_tables(self, numbers: set[int]) -> None:
        for number in numbers:
            self._slices.pop(number).close()
            self._ledgers.pop(number).close()

    async def _catch_up(self, numbers: set[int]) -> int:
        """Bring both tables of every partition up to the ends of their topics; returns the records read."""
        if not numbers:
            return 0
        metrics.RESTORE_REMAINING.clear()
        metrics.RESTORING.set(len(numbers))
        try:
            try:
                read = await self._restore(numbers)
            except PartitionStops:
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
            read += await restore(
                self._options, topic, {number: tables[number] for number in numbers}, reaches, _restored
            )
        return read

    async def _committed(self, numbers: set[int], identities: Identities) -> dict[int, dict[str, Committed]]:
        """What the group has committed of each partition that may go on; a topic that was made anew is begun anew."""
        ids = {topic: found.topic_id for topic, found in identities.items()}

        async def read(number: int) -> dict[str, Committed]:
            committed = await self._writers[number].committed(self._book.inputs, number)
            note = self._notes[number] = note_of(committed, self._book.consents, ids)
            found = identities[self._book.transfers].partitions
            if note.partitions and note.partitions != found:
                raise partitions_changed(note.partitions, found)
            self._require_order(number, note)
            return await self._begin_anew(number, committed, note, ids)

        self._notes, self._lives = {}, {}
        self._partition_count = identities[self._book.transfers].partitions
        committed = await self._each(numbers, read)
        begins = await self.watermarks.all_begins(set(committed)) if committed else {}

        async def no_hole(number: int) -> dict[str, Committed]:
            ends = await self.watermarks.ends(number)
            topics = (self._book.consents, self._book.strays)
            for topic, begin, end in zip(topics, begins[number], ends, strict=True):
                folded = committed[number].get(topic)
                require_events(topic, number, folded.offset if folded else None, begin, end)
            return committed[number]

        return await self._each(set(committed), no_hole)

    def _require_order(self, number: int, note: Noted) -> None:
        """Hold that no newer registry has decided here. Raises RegistryOlder."""
        ours, theirs = self._book.registry_order, note.registry
        if not ours or not theirs or ours == theirs or self._allow_older_registry:
            return
        (published, _, revision), (noted_at, _, other) = ours.partition("/"), theirs.partition("/")
        if published > noted_at:
            return
        older = "older than" if published < noted_at else "published at the same time as"
        raise RegistryOlder(
            f"partition {number}: the registry of this worker (revision {revision}, published_at {published}) is "
            f"{older} the one that decided here last (revision {other}, published_at {noted_at}): a partner that was "
            "suspended since could be served again",
            do="give this worker the newer registry; raise published_at in policy.yaml with every change; for a "
            "deliberate rollback start it with --allow-older-registry",
        )

    async def _begin_anew(
        self, number: int, committed: dict[str, Committed], note: Noted, ids: Mapping[str, str]
    ) -> dict[str, Committed]:
        """Number the lives of the input topics, and set the group's offset of one that was made anew to its beginning,
        before the consumer asks for it.
        """
        lives = self._lives[number] = {
            topic: Life(ids[topic], known.number + (known.topic_id != ids[topic]))
            if (known := note.topics.get(topic)) is not None
            else Life(ids[topic])
            for topic in self._book.inputs
        }
        anew = [
            topic for topic in self._book.inputs if lives[topic].topic_id != note.topics.get(topic, lives[topic])[0]
        ]
        if not anew:
            return committed
        logger.warning(
            "input topics were deleted and made anew: they are read from their beginning, under new names",
            extra={"partition": number, "topics": ", ".join(anew)},
        )
        kept = replace(note, topics={**note.topics, **lives})
        offsets = {topic: found.offset for topic, found in committed.items()} | dict.fromkeys(anew, 0)
        notes = dict.fromkeys(offsets, str(kept))
        await self._writers[number].commit(
            Batches(number, int(self._clock().timestamp() * 1000)), offsets, lambda: notes
        )
        return {topic: Committed(offset, notes[topic]) for topic, offset in offsets.items()}

    def _new_partition(self, number: int, committed: Mapping[str, Committed]) -> Partition:
        return Partition(
            number,
            self._book,
            Tables(self._slices[number], self._ledgers[number]),
            self._writers[number],
            self.watermarks,
            self._meter,
            committed={topic: one.offset for topic, one in committed.items()},
            round_records=self._settings.max_round_records,
            inbox_records=self._settings.max_inbox_records,
            clock=self._clock,
            sealing=self._sealing,
            note=self._notes[number],
        )

    async def _run(self, partition: Partition) -> None:
        try:
            await partition.run()
        except RoundFailed as error:
            metrics.TRANSACTIONS.labels("fenced" if isinstance(error, Fenced) else "failed").inc()
            await self._doubt(partition.number, error)
        except (PartitionStops, StateTooNew) as error:
            self._stop(partition.number, error)
            if len(self.stopped) == self._partition_count:
                await self._crash(error)
        except GateError as error:
            await self._crash(error)
        except Exception as error:
            logger.exception("a partition failed: the worker stops", extra={"partition": partition.number})
            await self._crash(error)

    async def _doubt(self, number: int, error: Exception) -> None:
        logger.warning(
            "a partition is in doubt: rejoining the group", extra={"partition": number, "error": brief(error)}
        )
        self.partitions.pop(number, None)
        self.assigned = False
        await self._rejoin()
