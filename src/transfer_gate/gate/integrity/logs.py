"""Whether the logs still hold what the gate needs of them. Nothing is decided from a history with holes: the missing
part may have been an objection.
"""

from collections.abc import Collection, Iterable
from typing import Final

from transfer_gate.errors import GateError
from transfer_gate.kafka.coordinator import PartitionStops
from transfer_gate.kafka.session import open_session
from transfer_gate.kafka.unpacking import Withheld
from transfer_gate.records.commit_notes import LogIdentity
from transfer_gate.settings import Settings

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


def require_boundary(topic: str, partition: int, reach: int, *, inside: bool) -> None:
    """Hold that a log of the gate's own still has what was committed up to `reach`: that no batch stands across that
    offset (`inside`), where one ended. Raises HistoryLost.

    Compaction keeps where batches end. A log that lost its tail, and in which a round that was cut off came behind it,
    may be long enough again.
    """
    if inside:
        raise HistoryLost(
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


#: Between two looks at the settings of topics, seconds. A cleaner leaves the newest segment alone.
POLICY_SECONDS: Final = 60.0


class Compacted(GateError):
    """A topic whose every record counts is compacted."""


async def require_no_compaction(settings: Settings, topics: Collection[str]) -> None:
    """Hold that none of these topics is compacted. Raises Compacted; BrokerUnavailable without an answer."""
    async with open_session(settings) as session:
        configs = await session.cluster.configs(topics)
    found = {name: configs.get(name, {}).get("cleanup.policy", "") for name in sorted(topics)}
    listed = "; ".join(f"{name} has cleanup.policy {policy}" for name, policy in found.items() if "compact" in policy)
    if listed:
        raise Compacted(
            f"topics on which the gate can't keep its promises: {listed}, needed is delete. Compaction keeps only the "
            "newest record of a prospect, and a withdrawal may be none",
            do="set cleanup.policy of these topics to delete at once (kafka-configs --alter --add-config "
            "cleanup.policy=delete), then start again: records that were compacted away unread are noticed then",
        )
