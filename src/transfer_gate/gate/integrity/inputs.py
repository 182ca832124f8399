"""Whether the logs of the inputs are whole: nothing was deleted in front of what was applied, cut off behind it, or
compacted away. Looked at before every round.

A log that lost its tail (an election of a replica that lacked it, a disk that was set back) and was written past its
old end looks whole by its offsets. But a new leader has a new epoch (KIP-320), and every batch bears that of the leader
that took it: where the batches of an epoch end now before the place up to which they were fetched, some are gone.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from transfer_gate.gate.inbox import Inboxes, Reached
from transfer_gate.gate.integrity.logs import compacted, require_epoch, require_events

Place = tuple[str, int]
"""Topic and partition."""
EpochEnds = Callable[[Mapping[Place, int]], Awaitable[Mapping[Place, int]]]
"""For the epoch asked of each place: the offset after the last record of it or of an earlier one."""


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


class Watermark(Protocol):
    """Who knows up to where consent must be applied before a partition may decide."""

    async def ends(self, partition: int) -> tuple[int, ...]:
        """The high watermarks of the partition of `consent-events` and of the strays, as of after the call."""

    async def begin(self, partition: int) -> tuple[int, ...]:
        """The first offsets that the partition of these topics still holds."""


class InputLogs:
    """The logs of one partition, as far as its inboxes have read them."""

    def __init__(
        self,
        number: int,
        of_consents: tuple[str, ...],
        inboxes: Inboxes,
        watermark: Watermark,
        epochs: LeaderEpochs | None,
    ) -> None:
        """`of_consents`: the topics of which no record may be missed, in the order of `watermark`."""
        self._number = number
        self._of_consents = of_consents
        self._inboxes = inboxes
        self._watermark = watermark
        self._epochs = epochs
        #: What compaction took away, by topic; nothing behind it is applied.
        self._holes: dict[str, tuple[int, int]] = {}

    def take_hole(self, topic: str, hole: tuple[int, int] | None) -> None:
        """Keep what a fetch found missing: offsets from the first to before the second."""
        if hole is not None and topic in self._of_consents:
            self._holes.setdefault(topic, hole)

    async def require_whole(self) -> None:
        """Hold that nothing of the inputs is missing. Raises HistoryLost, and RoundFailed when the cluster does not
        answer.
        """
        while True:
            await self._require_no_hole()
            epochs = self._epochs
            if epochs is None:
                return
            doubtful = [
                (topic, tuple(inbox.reached))
                for topic, inbox in self._inboxes.items()
                if epochs.doubtful(topic, self._number, inbox.reached)
            ]
            if not doubtful:
                return  # without waiting for anything since: nothing else was fetched
            for topic, reached in doubtful:
                await epochs.require(topic, self._number, reached)

    async def _require_no_hole(self) -> None:
        """Hold that consent events which were passed over were none that retention deleted while we stood before them:
        a consumer whose place is gone goes on at the beginning of what is left; nor any that were compacted away.
        """
        for topic, (first, end) in self._holes.items():
            raise compacted(topic, self._number, first, end)
        # Once more after every answer: more may have been passed over meanwhile, and what is taken next lies behind it.
        for place, topic in enumerate(self._of_consents):
            while passed := self._inboxes[topic].take_passed():
                begin, (stood, _) = (await self._watermark.begin(self._number))[place], passed[0]
                require_events(topic, self._number, stood, begin, stood)
