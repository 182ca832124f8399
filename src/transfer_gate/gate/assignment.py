"""The partitions that the group has assigned to this worker: fence, restore, run, release; and how failures are met.

A `Feed` gives partitions out and brings what was fetched of them to its `Listener`, as Kafka's consumer does to a
ConsumerRebalanceListener. `Gate` is the listener of a worker, `gate.faust` its feed: all that knows Faust.
"""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Mapping
from typing import Final, Protocol

from transfer_gate.errors import GateError
from transfer_gate.gate.inbox import Fetched, Offsets
from transfer_gate.gate.partition import RELEASE_SECONDS, Partition, Shared
from transfer_gate.gate.takeover import NOTHING_TAKEN, STOPS, TakenOver
from transfer_gate.kafka.coordinator import Fenced, RoundFailed
from transfer_gate.kafka.unpacking import Look
from transfer_gate.observe import metrics
from transfer_gate.observe.logs import summary

logger = logging.getLogger(__name__)

#: Between two tries to take partitions over while the cluster does not answer, seconds.
RETRY_SECONDS: Final = 1.0


class Listener(Protocol):
    """What a feed calls. All calls come from one event loop, one assignment at a time."""

    async def open(self, numbers: set[int]) -> bool:
        """Own these partitions, and no others, before anything is fetched of them. False when the cluster did not
        answer: then nothing is owned, and the feed asks the group for a new assignment. What is raised ends the feed.
        """

    async def release(self) -> None:
        """End the rounds that run, and own nothing any more; before the group gives the partitions to others."""

    async def receive(self, topic: str, number: int, fetched: Fetched) -> None:
        """Take one fetch of an input topic of a partition that is owned."""

    def may_fetch(self, topic: str, number: int) -> bool:
        """Whether there is room for records of an input topic of this partition."""

    def look(self) -> Look:
        """How many bytes the next look at what was fetched may bring."""

    def restored(self, number: int) -> int | None:
        """Offset up to which this worker holds the changelog of a partition; None where it holds nothing."""


class Feed(Protocol):
    """Gives partitions to a listener, and records to its partitions."""

    async def run(self, listener: Listener) -> None:
        """Join the group, and serve `listener` until `stop`. Raises GateError for what ended the feed else."""

    async def stop(self) -> None:
        """Release the partitions and leave the group."""

    async def rejoin(self) -> None:
        """Ask the group for a new assignment: partitions are fenced, caught up, and read from committed offsets."""

    async def fail(self, error: BaseException) -> None:
        """End the feed with an error that only a person can fix."""

    @property
    def failure(self) -> BaseException | None:
        """What the feed failed with."""


class Ownership(Protocol):
    """How partitions are taken over, and what is kept of them. See `gate.takeover.TakeOver`."""

    def begin(self) -> None:
        """Begin anew: what the topics were compared with holds no more. Raises GateError."""

    async def keep(self, numbers: set[int], stopped: set[int]) -> None:
        """Give up writers and tables of all partitions but these, and the tables of those that have stopped."""

    async def run(self, numbers: set[int]) -> TakenOver:
        """Fence, read what is committed, compare, restore. Raises GateError, RoundFailed without an answer."""

    def restored(self, number: int) -> int | None:
        """See Listener."""


class Gate:
    """Owns a Partition for every partition assigned to this worker. See `Listener`.

    Where the outcome of a commit is unknown, or offsets go backwards, it requests a new assignment of the group: that
    fences, catches up and reads the committed offsets again. An error that only a person can fix ends the feed.
    """

    def __init__(self, feed: Feed, take_over: Ownership, shared: Shared) -> None:
        self._feed = feed
        self._take_over = take_over
        self._shared = shared
        self._running: dict[int, asyncio.Task[None]] = {}
        self.partitions: dict[int, Partition] = {}
        #: Partitions that can't go on, and why; until the next assignment.
        self.stopped: dict[int, GateError] = {}
        self._partition_count = 0
        #: Whether the partitions that the group gave out are open; False from a revocation to the end of the next
        #: restore.
        self.assigned = False

    @property
    def ready(self) -> bool:
        """Whether every assigned partition decides, and none has stopped. A worker without partitions is ready: it is a
        standby.
        """
        decides = all(partition.decides for partition in self.partitions.values())
        return self.assigned and not self.stopped and decides

    @property
    def why_stopped(self) -> Mapping[int, str]:
        """The kind of the error of each partition that can't go on: `history-lost`."""
        return {number: _word(error) for number, error in sorted(self.stopped.items())}

    async def open(self, numbers: set[int]) -> bool:
        """Own these partitions, and no others: fence, catch the tables up, decide.

        Fencing comes first: once `InitProducerId` returns, no earlier owner can commit, so the changelog's end and
        the committed offsets stand still (KIP-98). Partitions kept over a rebalance are fenced and caught up as
        well: another worker may have owned them while this one was cut off.

        Returns False, owning nothing, when the cluster did not answer: then ask the group for a new assignment, which
        shows whether the partitions are still this worker's. Raises GateError when only a person can help.
        """
        began = time.monotonic()
        self._take_over.begin()
        await self.release()
        await self._take_over.keep(numbers, set(self.stopped))
        self.stopped = {}
        try:
            taken = await self._take_over.run(numbers) if numbers else NOTHING_TAKEN
        except RoundFailed as error:
            logger.warning(
                "no answer while partitions %s were taken over: trying again",
                sorted(numbers),
                extra={"error": summary(error.__cause__ or error)},
            )
            await asyncio.sleep(RETRY_SECONDS)
            return False
        self._partition_count = taken.partition_count
        for number, why in taken.stopped.items():
            self._stop(number, why)
        self._require_some_partition()
        metrics.REBALANCES.inc()
        metrics.ASSIGNMENT_SECONDS.observe(time.monotonic() - began)
        for number, owned in sorted(taken.owned.items()):
            committed = Offsets.of(self._shared.book, {topic: found.offset for topic, found in owned.committed.items()})
            partition = Partition(
                number,
                self._shared,
                owned.tables,
                owned.writer,
                committed,
                owned.note,
                first=not owned.committed or owned.tables.consent.position == 0,
            )
            self.partitions[number] = partition
            self._running[number] = asyncio.create_task(self._run(partition), name=f"partition-{number}")
        self.assigned = True
        logger.info("deciding partitions %s (%d changelog records read)", sorted(taken.owned), taken.records)
        return True

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

    def restored(self, number: int) -> int | None:
        """See Listener."""
        return self._take_over.restored(number)

    def may_fetch(self, topic: str, number: int) -> bool:
        """See Listener. Every topic has an inbox of its own: consents are fetched while transfers wait for them."""
        partition = self.partitions.get(number)
        return partition is not None and not partition.inboxes[topic].full

    def look(self) -> Look:
        """See Listener."""
        return self._shared.memory.look(self._shared.book.inputs, self._shared.book.waited_for)

    async def receive(self, topic: str, number: int, fetched: Fetched) -> None:
        """See Listener."""
        partition = self.partitions.get(number)
        if partition is None:
            return  # given up meanwhile; the next owner reads it from the committed offset
        try:
            partition.receive(topic, fetched)
        except ValueError as error:
            await self._begin_anew(number, error)

    async def topics_changed(self, change: GateError | RoundFailed) -> None:
        """Decide nothing more on topics that are not those of the take-over."""
        if isinstance(change, GateError):
            await self.release()
            await self._feed.fail(change)
        else:
            logger.warning("a topic has changed: rejoining the group", extra={"error": str(change)})
            self.assigned = False
            await self._feed.rejoin()

    async def _run(self, partition: Partition) -> None:
        try:
            await partition.run()
        except RoundFailed as error:
            self._shared.memory.share(partition.number).failed()
            metrics.TRANSACTIONS.labels("fenced" if isinstance(error, Fenced) else "failed").inc()
            await self._begin_anew(partition.number, error)
        except STOPS as error:
            self._stop(partition.number, error)
            if len(self.stopped) == self._partition_count:
                await self._feed.fail(error)
        except GateError as error:
            await self._feed.fail(error)
        except Exception as error:
            logger.exception("a partition failed: the worker stops", extra={"partition": partition.number})
            await self._feed.fail(error)

    def _stop(self, number: int, error: GateError) -> None:
        """Stop one partition; the others go on."""
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

    async def _begin_anew(self, number: int, error: Exception) -> None:
        logger.warning(
            "a partition can't go on as it is: rejoining the group",
            extra={"partition": number, "error": summary(error)},
        )
        self._give_up(number)
        self.assigned = False
        await self._feed.rejoin()


def _word(error: GateError) -> str:
    """The kind of an error, as a label: `history-lost`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
