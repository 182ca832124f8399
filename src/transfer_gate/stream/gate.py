"""The gate of one worker: its partitions, what happens to them at every rebalance, and how failures are met."""

import asyncio
import contextlib
import datetime as dt
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from faust.types import TP

from transfer_gate.errors import GateError
from transfer_gate.observe import metrics
from transfer_gate.observe.tracebacks import brief
from transfer_gate.settings import Settings
from transfer_gate.stream.barrier import Watermarks
from transfer_gate.stream.clients import passes, require_descriptors
from transfer_gate.stream.deleted import Deleted
from transfer_gate.stream.fetching import Fetch
from transfer_gate.stream.history import Noted, noted, require_events, require_offsets
from transfer_gate.stream.lag import Lag
from transfer_gate.stream.meter import Meter
from transfer_gate.stream.partition import RELEASE_SECONDS, Partition
from transfer_gate.stream.restore import restore
from transfer_gate.stream.rounds import Tables
from transfer_gate.stream.rulebook import Rulebook
from transfer_gate.stream.slices import Slice
from transfer_gate.stream.standing import tell
from transfer_gate.stream.table import SliceFactory
from transfer_gate.stream.transaction import Committed, Fenced, RoundFailed, TransactionalWriter
from transfer_gate.wire.sealing import Sealing

logger = logging.getLogger(__name__)

#: Between two tries to take partitions over while the cluster does not answer, seconds.
AGAIN_SECONDS: Final = 1.0
T = TypeVar("T")


def utc_now() -> dt.datetime:
    """The clock of a worker."""
    return dt.datetime.now(dt.UTC)


def _restored(number: int, left: int, read: int) -> None:
    metrics.RESTORE_REMAINING.labels(str(number)).set(left)
    metrics.RESTORED.inc(read)


async def _all(asked: Iterable[Awaitable[T]]) -> list[T]:
    """Results of all, in order, once **all** have ended: a fence that is left behind could undo a later one.

    Raises what one of them raised, rather a GateError than a doubt.
    """
    ended = await asyncio.gather(*asked, return_exceptions=True)
    errors = [one for one in ended if isinstance(one, BaseException)]
    if errors:
        raise min(errors, key=lambda error: not isinstance(error, GateError))
    return [one for one in ended if not isinstance(one, BaseException)]


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
        self.watermarks = Watermarks(options, book.consents)
        self._lag = Lag(options, book.inputs)
        self._meter = Meter(book)
        self._deleted = Deleted(self._lag, (book.transfers, book.replay))
        #: Whether the partitions that the group gave us are open; False from a revocation to the end of the next
        #: restore.
        self.assigned = False

    async def start(self) -> None:
        """Connect what all partitions share."""
        await self.watermarks.start()
        await self._lag.start(lambda: self.partitions)
        self._deleted.start()

    async def close(self) -> None:
        """Give everything up."""
        await self.release()
        self._close_tables(set(self._slices))
        for writer in self._writers.values():
            await writer.close()
        await self._deleted.close()
        await self._lag.close()
        await self.watermarks.close()

    @property
    def ready(self) -> bool:
        """Whether every assigned partition decides. A worker without partitions is ready: it is a standby."""
        return self.assigned and all(partition.decides for partition in self.partitions.values())

    def tell(self) -> None:
        """Set the gauges of this worker's partitions to what is so now."""
        tell((partition.standing for partition in self.partitions.values()), self._lag, ready=self.ready)

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
        if topic != self._book.consents:  # what is missing of these stops the partition
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
        await self.release()
        self._close_tables(set(self._slices) - numbers)
        for gone in set(self._writers) - numbers:
            await self._writers.pop(gone).close()
        try:
            committed, read = await self._take_over(numbers) if numbers else ({}, 0)
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
        self.partitions = {number: self._new_partition(number, committed[number]) for number in sorted(numbers)}
        for number, partition in self.partitions.items():
            self._running[number] = asyncio.create_task(self._run(partition), name=f"partition-{number}")
        self.assigned = True
        logger.info("deciding partitions %s (%d changelog records read)", sorted(numbers), read)
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
        await _all(self._writers[number].fence(topics) for number in numbers)
        committed = await self._committed(numbers)
        await self._deleted.tell(committed)
        for number in numbers - set(self._slices):  # both or none, should one of them fail to open
            self._slices[number], self._ledgers[number] = (
                self._new_slice(topic, number) for topic in (self._book.changelog, self._book.ledger)
            )
        notes = {number: noted(committed[number].get(self._book.consents)) for number in numbers}
        read = await self._catch_up(notes)
        for number in numbers:
            worked = next(iter(self._slices[number].items()), None) is not None
            require_offsets(self._book.transfers, self._book.consents, number, committed[number], worked=worked)
        return committed, read

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

    async def _catch_up(self, notes: Mapping[int, Noted]) -> int:
        """Bring both tables of every partition up to the ends of their topics; returns the records read."""
        read = 0
        metrics.RESTORE_REMAINING.clear()
        metrics.RESTORING.set(len(notes))
        try:
            for topic, tables, reaches in (
                (self._book.changelog, self._slices, {number: note.changelog for number, note in notes.items()}),
                (self._book.ledger, self._ledgers, {number: note.ledger for number, note in notes.items()}),
            ):
                read += await restore(self._options, topic, tables, reaches, _restored)
            for number in notes:
                metrics.RESTORE_REMAINING.labels(str(number)).set(0)
        finally:
            metrics.RESTORING.set(0)
        return read

    async def _committed(self, numbers: set[int]) -> dict[int, dict[str, Committed]]:
        """What the group has committed of each partition. Raises HistoryLost when consent events are gone unread."""
        ordered = sorted(numbers)
        read = await _all(self._writers[number].committed(self._book.inputs, number) for number in ordered)
        committed = dict(zip(ordered, read, strict=True))
        begins = await self.watermarks.begins(numbers)
        ends = await asyncio.gather(*(self.watermarks.end(number) for number in ordered))
        for number, end in zip(ordered, ends, strict=True):
            consents = committed[number].get(self._book.consents)
            applied = consents.offset if consents else None
            require_events(self._book.consents, number, applied, begins[number], end)
        return committed

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
        )

    async def _run(self, partition: Partition) -> None:
        try:
            await partition.run()
        except RoundFailed as error:
            metrics.TRANSACTIONS.labels("fenced" if isinstance(error, Fenced) else "failed").inc()
            await self._doubt(partition.number, error)
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
