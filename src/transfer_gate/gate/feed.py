"""Where a worker gets partitions and records from: the consumer group, as far as the gate has to know of it.

A `Feed` gives partitions out and brings what was fetched of them to its `Listener`, as Kafka's consumer does to a
ConsumerRebalanceListener. `gate.faust` is the feed of a worker; nothing else of it knows Faust.
"""

from typing import Protocol

from transfer_gate.gate.inbox import Fetched
from transfer_gate.kafka.unpacking import Look


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
