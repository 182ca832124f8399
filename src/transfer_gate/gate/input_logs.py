"""Whether the logs of a partition's inputs are whole: nothing was deleted in front of what was applied, cut off behind
it, or compacted away. Looked at before every round.
"""

from collections.abc import Mapping
from typing import Protocol

from transfer_gate.gate.epochs import LeaderEpochs
from transfer_gate.gate.history import compacted, require_events
from transfer_gate.gate.inbox import Inbox


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
        inboxes: Mapping[str, Inbox],
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
