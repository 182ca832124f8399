"""Whether the logs still hold what the gate needs of them: nothing was deleted in front of what was applied, cut off
behind it, spoilt or compacted away. Nothing is decided from a history with holes: the missing part may have been an
objection. The inputs are looked at before every round.

A log that lost its tail (an election of a replica that lacked it, a disk that was set back) and was written past its
old end looks whole by its offsets. But a new leader has a new epoch (KIP-320), and every batch bears that of the leader
that took it: where the batches of an epoch end now before the place up to which they were fetched, some are gone.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from transfer_gate.gate.inbox import Inboxes, Reached
from transfer_gate.kafka.coordinator import PartitionStops
from transfer_gate.kafka.unpacking import Withheld
from transfer_gate.records.commit_notes import LogIdentity

#: The way out of every loss that forgets no prospect and decides no transfer twice.
_FOLD_ANEW: Final = (
    "stop all workers and reset the group's offsets of consent-events, and of no other topic, to the earliest "
    "(kafka-consumer-groups --reset-offsets --to-earliest): the gate then folds it anew before it decides"
)
_BRING_BACK: Final = (
    f"{_FOLD_ANEW}, if consent-events still has the whole history; else bring the topic back from a copy first "
    "(docs/reference/what-happens-when.md). A replay ledger can't be folded anew: what was replayed may then be "
    "replayed again"
)


class HistoryLost(PartitionStops):
    """Records of what people want are gone from a log."""


def require_events(topic: str, partition: int, applied: int | None, begin: int, end: int) -> None:
    """Hold that the consent topic still runs on from where the gate stands: that it begins at or before the offset up
    to which events were applied, None for nowhere, and ends at or behind it. Raises HistoryLost.
    """
    if applied is None or begin <= applied <= end:
        return
    if applied < begin:
        found = (
            f"begins at offset {begin}, but only those below {applied} were applied: events in between were deleted "
            "unread, withdrawals maybe among them"
        )
    else:
        found = (
            f"ends at offset {end}, but events up to {applied} were applied: it was truncated, or deleted and made "
            "anew, and what comes now would be taken for known"
        )
    raise HistoryLost(
        f"partition {partition} of {topic} {found}",
        do=f"publish the consent history anew; {_FOLD_ANEW}; "
        "raise retention.ms of the topic (`transfer-gate topics apply` lists what it should be)",
    )


def compacted(topic: str, partition: int, first: int, end: int) -> HistoryLost:
    """Why nothing may be decided behind offsets, from `first` to before `end`, some of which compaction took away."""
    return HistoryLost(
        f"partition {partition} of {topic} lacks records between the offsets {first} and {end}, which were not applied "
        "yet: the topic was compacted. Withdrawals maybe among them",
        do="stop all workers, delete the topic, make it anew with cleanup.policy=delete (`transfer-gate topics apply`) "
        "and publish the whole consent history to it: it is read from its beginning, and what was applied before stays",
    )


def require_whole(topic: str, partition: int, records: Iterable[object]) -> None:
    """Hold that every record of a log of states can be had: of bytes that a disk has spoilt `kafka.unpacking` gives the
    offsets alone. Raises HistoryLost.
    """
    lost = next((record for record in records if type(record) is Withheld), None)
    if lost is not None:
        raise HistoryLost(
            f"partition {partition} of {topic} can't be read at offset {lost.offset}: the checksum of the bytes is "
            "wrong, or they are no record. What people want may have stood there",
            do="look at the brokers' disks, and have the leader's replica made anew from one that is whole; without "
            f"such a one, {_BRING_BACK}",
        )


def require_epoch(topic: str, partition: int, epoch: int, reached: int, end: int) -> None:
    """Hold that the batches that were taken under a leader epoch, up to before the offset `reached`, are still there:
    that the log of that epoch and earlier ones goes up to `end`, -1 where the leader does not know it. Raises
    HistoryLost.
    """
    if end >= reached:
        return
    raise HistoryLost(
        f"partition {partition} of {topic} lost records that were acknowledged: under leader epoch {epoch} they were "
        f"taken up to offset {reached}, and the log of that epoch ends at {max(end, 0)} now. Others may stand in their "
        "places, unread",
        do="find out how the cluster lost them (an unclean election, a disk that was set back) and what they were; for "
        f"consent-events: {_FOLD_ANEW}, once its whole history is published again; for another topic: set the group's "
        f"offset of this partition to {max(end, 0)} (kafka-consumer-groups --reset-offsets --to-offset)",
    )


def require_same_log(topic: str, partition: int, noted: LogIdentity | None, found_id: str, reach: int) -> None:
    """Hold that a log of the gate's own is the one that was committed to, up to `reach`. Raises HistoryLost.

    `noted`: which topic of its name that was; `found_id`: the id of the one that is there.
    """
    if noted is None or noted.topic_id == found_id or not reach:
        return
    raise HistoryLost(
        f"partition {partition} of {topic} is not the log that was committed to: the topic was deleted and "
        "made anew, and what it held is gone: withdrawals and objections, or what was replayed",
        do="stop all workers, see docs/reference/what-happens-when.md for having the history folded anew",
    )


def written_past(topic: str, partition: int, reach: int) -> HistoryLost:
    """Why a log of the gate's own is not whole in which a batch stands across the offset `reach`, where one ended when
    rounds were committed up to it.

    Compaction keeps where batches end. A log that lost its tail, and in which a round that was cut off came behind it,
    may be long enough again.
    """
    return HistoryLost(
        f"partition {partition} of {topic} has other records at offset {reach}, where committed rounds ended: its "
        "tail was lost (an unclean election, a disk that was set back) and written past. What stood there is gone: "
        "withdrawals and objections, or what was replayed",
        do=_BRING_BACK,
    )


def require_log(topic: str, partition: int, reach: int, held: int, begin: int, end: int) -> None:
    """Hold that a log of the gate's own has all that was committed to it: that it runs from `begin` to `end`.

    `reach`: see `Reach.end`; `held`: offset up to which this worker has it already. Raises HistoryLost.
    """
    if end < reach:
        found = f"ends at offset {end}, but committed rounds have written it up to {reach}"
    elif reach and held < begin:
        # A compacted topic keeps the newest record of every key, so its first offset never moves.
        found = f"begins at offset {begin}: records before it were deleted"
    else:
        return
    raise HistoryLost(
        f"partition {partition} of {topic} {found}. It was truncated, or deleted and made anew; what it held is gone: "
        "withdrawals and objections, or what was replayed",
        do=_BRING_BACK,
    )


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
