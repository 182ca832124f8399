"""The gate of one worker: its partitions, what happens to them at every rebalance, and how failures are met."""

import asyncio
import contextlib
import datetime as dt
import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final

from faust.types import TP

from transfer_gate.errors import GateError
from transfer_gate.gate.inbox import Fetched, Offsets
from transfer_gate.gate.integrity import logs as policies
from transfer_gate.gate.integrity.identity import Identities, TopicWatch, change_between, identities_of
from transfer_gate.gate.integrity.inputs import LeaderEpochs
from transfer_gate.gate.memory import LOOK_ALL_BYTES, InboxBudget, OutputRoom, Share
from transfer_gate.gate.monitoring import Deleted, Lag, Meter, set_gauges
from transfer_gate.gate.originals import Originals
from transfer_gate.gate.partition import RELEASE_SECONDS, Partition
from transfer_gate.gate.retention import Retention
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import Slice, SliceFactory
from transfer_gate.gate.takeover import NOTHING_TAKEN, Owned, TakeOver
from transfer_gate.kafka.clients import passes, require_descriptors
from transfer_gate.kafka.coordinator import Fenced, PartitionStops, RoundFailed
from transfer_gate.kafka.unpacking import Look
from transfer_gate.kafka.watermarks import Watermarks
from transfer_gate.observe import metrics
from transfer_gate.observe.tracebacks import summary
from transfer_gate.records.sealing import Sealing
from transfer_gate.records.state import StateTooNew
from transfer_gate.settings import Settings

logger = logging.getLogger(__name__)

#: Between two tries to take partitions over while the cluster does not answer, seconds.
AGAIN_SECONDS: Final = 1.0
#: Between two looks at the identity of the topics while nothing is decided, seconds; a decision looks by itself.
IDENTITY_SECONDS: Final = 2.0


def utc_now() -> dt.datetime:
    """The clock of a worker."""
    return dt.datetime.now(dt.UTC)


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
        timer: Callable[[], float] = time.perf_counter,
        retention: Retention | None = None,
    ) -> None:
        self._retention = retention
        self._settings = settings
        self._options = options
        self._book = book
        self._sealing = sealing
        self._rejoin = rejoin
        self._crash = crash
        self._clock = clock
        self._timer = timer
        self._running: dict[int, asyncio.Task[None]] = {}
        self.partitions: dict[int, Partition] = {}
        #: The topics of the last take-over; None while partitions are taken over.
        self._identities: Identities | None = None
        self._watching: list[asyncio.Task[None]] = []
        self._partition_count = 0
        #: Partitions that can't go on, and why; until the next assignment.
        self.stopped: dict[int, GateError] = {}
        watched = (*book.inputs, book.changelog, book.ledger)
        self._watch = TopicWatch(options, watched)
        self._originals = Originals(options, (book.transfers, book.replay))
        self.watermarks = Watermarks(options, (book.consents, book.strays), watched, self._change)
        self._epochs = LeaderEpochs(self._watch.epoch_ends)
        self._lag = Lag(options, book.inputs)
        self._meter = Meter(book)
        self._deleted = Deleted(self._lag, (book.transfers, book.replay))
        self._take_over = TakeOver(
            settings,
            options,
            book,
            slices,
            new_slice,
            watch=self._watch,
            watermarks=self.watermarks,
            deleted=self._deleted,
            clock=clock,
            allow_older_registry=allow_older_registry,
        )
        self._budget = InboxBudget(settings.max_inbox_bytes)
        self._room = OutputRoom(settings.max_output_bytes)
        self._shares: defaultdict[int, Share] = defaultdict(Share)
        #: Whether the partitions that the group gave us are open; False from a revocation to the end of the next
        #: restore.
        self.assigned = False

    async def start(self) -> None:
        """Connect what all partitions share."""
        await self.watermarks.start()
        await self._watch.start()
        self._watching = [
            asyncio.create_task(self._follow_identities(), name="identities"),
            asyncio.create_task(self._follow_policies(), name="policies"),
        ]
        await self._lag.start(lambda: self.partitions)
        self._deleted.start()

    async def close(self) -> None:
        """Give everything up."""
        for task in self._watching:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.release()
        await self._take_over.close()
        await self._watch.close()
        await self._originals.close()
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
        snapshots = (partition.snapshot for partition in self.partitions.values())
        stopped = {number: _word(error) for number, error in self.stopped.items()}
        set_gauges(snapshots, self._lag, ready=self.ready, stopped=stopped)

    def _change(self, metadata: Any) -> Exception | None:
        """Why metadata of the topics keep this worker from deciding; None when they are those of the take-over."""
        self._epochs.learn(metadata)
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
                logger.warning("the topics can't be looked at", extra={"error": summary(error)})
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

    async def _follow_policies(self) -> None:
        """Notice that a topic is compacted whose every record counts."""
        topics = (self._book.consents, self._book.strays, self._book.transfers)
        while True:
            await asyncio.sleep(policies.POLICY_SECONDS)
            try:
                await policies.require_no_compaction(self._settings, topics)
            except policies.Compacted as error:
                await self.release()
                await self._crash(error)
                return
            except Exception as error:  # noqa: BLE001 - whoever only watches must not end
                logger.warning("the settings of the topics can't be looked at", extra={"error": summary(error)})

    def may_fetch(self, tp: TP) -> bool:
        """Whether the inbox of this topic partition has room.

        Every topic has an inbox of its own: consents are fetched while transfers wait for them.
        """
        partition = self.partitions.get(tp.partition)
        if partition is None:
            return False
        return not partition.inboxes[tp.topic].full

    def look(self) -> Look:
        """What the next look at what was fetched may bring."""
        budget, first = self._budget, self._book.waited_for
        return Look({topic: budget.look(first=topic in first) for topic in self._book.inputs}, LOOK_ALL_BYTES)

    async def receive(self, topic: str, number: int, fetched: Fetched) -> None:
        """Pass one fetch to its partition."""
        partition = self.partitions.get(number)
        if partition is None:
            return  # given up meanwhile; the next owner reads it from the committed offset
        try:
            partition.receive(topic, fetched)
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
        await self._take_over.keep(numbers, set(self.stopped))
        self.stopped = {}
        try:
            taken = await self._take_over.run(numbers) if numbers else NOTHING_TAKEN
        except Exception as error:
            if not isinstance(error, RoundFailed) and not passes(error):
                raise
            logger.warning(
                "no answer while partitions %s were taken over: asking again",
                sorted(numbers),
                extra={"error": summary(error)},
            )
            await asyncio.sleep(AGAIN_SECONDS)
            return False
        self._identities = taken.identities if numbers else None
        self._partition_count = self._originals.partitions = taken.partition_count
        for number, why in taken.stopped.items():
            self._stop(number, why)
        self._require_some_partition()
        metrics.REBALANCES.inc()
        metrics.ASSIGNMENT_SECONDS.observe(time.monotonic() - began)
        self.partitions = {number: self._new_partition(number, taken.owned[number]) for number in sorted(taken.owned)}
        for number, partition in self.partitions.items():
            self._running[number] = asyncio.create_task(self._run(partition), name=f"partition-{number}")
        self.assigned = True
        logger.info("deciding partitions %s (%d changelog records read)", sorted(taken.owned), taken.records)
        return True

    def _stop(self, number: int, error: GateError) -> None:
        """Let one partition stand still; the others go on."""
        self._give_up(number)
        self.stopped[number] = error
        logger.error("partition %d has stopped: %s", number, error, extra={"partition": number, "reason": _word(error)})

    def _give_up(self, number: int) -> None:
        partition = self.partitions.pop(number, None)
        if partition is not None:
            partition.drop()

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
        for number in tuple(self.partitions):
            self._give_up(number)

    def _new_partition(self, number: int, owned: Owned) -> Partition:
        return Partition(
            number,
            self._book,
            owned.tables,
            owned.writer,
            self.watermarks,
            self._meter,
            committed=Offsets.of(self._book, {topic: found.offset for topic, found in owned.committed.items()}),
            round_records=self._settings.max_round_records,
            inbox_records=self._settings.max_inbox_records,
            clock=self._clock,
            timer=self._timer,
            sealing=self._sealing,
            note=owned.note,
            epochs=self._epochs,
            budget=self._budget,
            room=self._room,
            share=self._shares[number],
            retention=self._retention,
            originals=self._originals,
            first=not owned.committed or owned.tables.consent.position == 0,
        )

    async def _run(self, partition: Partition) -> None:
        try:
            await partition.run()
        except RoundFailed as error:
            self._shares[partition.number].failed()
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
            "a partition is in doubt: rejoining the group", extra={"partition": number, "error": summary(error)}
        )
        self._give_up(number)
        self.assigned = False
        await self._rejoin()
