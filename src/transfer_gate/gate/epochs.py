"""Whether what was fetched is still a beginning of its log: leader epochs (KIP-320).

A log that lost its tail (an election of a replica that lacked it, a disk that was set back) and was written past its
old end looks whole by its offsets. But a new leader has a new epoch, and every batch bears that of the leader that
took it: where the batches of an epoch end now before the place up to which they were fetched, some of them are gone.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from transfer_gate.gate.history import require_epoch

Place = tuple[str, int]
"""Topic and partition."""
EpochEnds = Callable[[Mapping[Place, int]], Awaitable[Mapping[Place, int]]]
"""For the epoch asked of each place: the offset after the last record of it or of an earlier one."""


class Reached(NamedTuple):
    """Offset after what was fetched of the batches of one leader epoch."""

    epoch: int
    end: int


class LeaderEpochs:
    """Compares what was fetched of the partitions of a worker with the epochs of their logs."""

    def __init__(self, ends: EpochEnds) -> None:
        self._ends = ends
        self._now: dict[Place, int] = {}
        #: By place: the epoch of the leader, and what was fetched, when they were last found to fit.
        self._fitted: dict[Place, tuple[int, tuple[Reached, ...]]] = {}

    def learn(self, metadata: Any) -> None:
        """Take the epochs of leaders out of the response to a TopicIds request."""
        for error, topic, _, _, partitions, *_ in metadata.topics:
            for partition in () if error else partitions:
                number, epoch = partition[1], partition[3]
                self._now[topic, number] = max(epoch, self._now.get((topic, number), -1))

    def doubtful(self, topic: str, number: int, reached: Sequence[Reached]) -> bool:
        """Whether the log may be another than the one that was fetched: it has a newer leader, or a newer one's batches
        were fetched behind those of an older one.
        """
        if not reached:
            return False
        now = self._now.get((topic, number), -1)
        if len(reached) == 1 and reached[0].epoch >= now:
            return False
        return self._fitted.get((topic, number)) != (now, tuple(reached))

    async def require(self, topic: str, number: int, reached: Sequence[Reached]) -> None:
        """Hold that all that was fetched is still there. Raises HistoryLost, RoundFailed when the cluster does not
        answer in time.
        """
        now, fetched = self._now.get((topic, number), -1), tuple(reached)
        for epoch, end in fetched:
            found = await self._ends({(topic, number): epoch})
            require_epoch(topic, number, epoch, end, found[topic, number])
        self._fitted[topic, number] = now, fetched
