"""Whether the group still has the offsets that it committed: brokers forget those of a group that stands still
(`offsets.retention.minutes`), those of all its partitions at once; what it wrote stays.

A partition without a state and without an offset looks like one that was never decided. So it is the whole group that
is looked at: every partition notes something beside its offsets a second after it was first taken over. Whatever stands
in the changelog was committed with a note, and something stands there from the first round on.
"""

from collections.abc import Collection, Mapping
from typing import Any

from transfer_gate.errors import GateError
from transfer_gate.gate.integrity.commit_note import read_note
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.kafka.coordinator import PartitionStops
from transfer_gate.kafka.log_reader import any_committed
from transfer_gate.kafka.topic_watch import Identities
from transfer_gate.kafka.transaction import Committed, TransactionalWriter
from transfer_gate.records.commit_notes import CommitNote


class OffsetsLost(PartitionStops):
    """The group has forgotten up to where transfers are decided: all that are still there would be sent once more."""


class OffsetMoved(PartitionStops):
    """An operator set an offset of the group to where it must not go on."""


class HistoryNotHome(GateError):
    """Consent events that stand in their places of an earlier partition count are not applied."""


def require_offsets(transfers: str, partition: int, committed: Mapping[str, Committed], *, has_state: bool) -> None:
    """Hold that the group still knows up to where it has decided: that it has an offset of `transfers` where the
    changelog or the ledger hold something (`has_state`). Raises OffsetsLost.

    A state was committed with offsets, in the same transaction, and the changelog is this app id's
    alone. A note beside any offset shows that the group is not forgotten: then transfers were not
    looked at yet, or their topic was made anew, and they are to be read from their beginning. A partition that holds
    nothing is protected by the others: see `lacking_offsets`.
    """
    if not has_state or transfers in committed or any(read_note(found) is not None for found in committed.values()):
        return
    raise offsets_lost(transfers, partition, {partition})


def offsets_lost(transfers: str, partition: int, lacking: Collection[int]) -> OffsetsLost:
    """Why a partition must not be decided: the group has forgotten where it stands in the `lacking` ones."""
    several = "s" if len(lacking) > 1 else ""
    others = "" if set(lacking) == {partition} else f" of partition{several} {', '.join(map(str, sorted(lacking)))}"
    return OffsetsLost(
        f"partition {partition}: the group has no offset of {transfers}{others} any more, but what stands in the "
        "changelog or the ledger says that it has worked: its offsets expired (offsets.retention.minutes of the "
        "brokers), or were deleted. All transfers that are still there would be decided and sent once more",
        do=f"stop all workers and set the group's offsets of {transfers} to where the decisions end, for "
        "every partition (docs/reference/what-happens-when.md has the commands); raise offsets.retention.minutes",
    )


def offsets_set(
    committed: Mapping[str, Committed], note: CommitNote, ids: Mapping[str, str]
) -> dict[str, tuple[int, int]]:
    """Offsets of inputs that were not committed by the gate: topic to the offset that the gate had committed, and the
    one that was set instead, 0 where it was deleted. A topic that was made anew since has none.

    `note`: of the last commit; `ids`: topic to its id now.
    """
    moved: dict[str, tuple[int, int]] = {}
    for topic, reached in note.offsets.items():
        found = committed[topic].offset if topic in committed else 0
        life = note.topics.get(topic)
        if found != reached and life is not None and life.topic_id == ids.get(topic):
            moved[topic] = reached, found
    return moved


def require_nothing_skipped(topic: str, partition: int, moved: tuple[int, int] | None) -> None:
    """Hold that the offset of consent events, or of strays, was not set beyond what is applied (see `offsets_set`).
    Raises OffsetMoved.
    """
    if moved is None or moved[1] <= moved[0]:
        return
    applied, found = moved
    raise OffsetMoved(
        f"partition {partition} of {topic}: the group's offset was set to {found}, but only events below {applied} "
        "are applied: those in between, withdrawals maybe among them, would never be",
        do=f"stop all workers and set it to {applied}, or to the earliest, which has the history folded anew "
        "(kafka-consumer-groups --reset-offsets)",
    )


def require_not_again(topic: str, partition: int, moved: tuple[int, int] | None, epoch_end: int | None) -> None:
    """Hold that the offset of transfers was not set back before what is decided. Raises OffsetMoved.

    `epoch_end`: where the log of the leader epoch ends now in which the last one was taken, None where that is not
    known. What stands behind that end came in its place (KIP-320), and was not decided.
    """
    if moved is None or moved[1] >= moved[0] or (epoch_end is not None and epoch_end <= moved[1]):
        return
    decided, found = moved
    raise OffsetMoved(
        f"partition {partition} of {topic}: the group's offset was set back to {found}, or deleted, but transfers "
        f"below {decided} are decided: they would be decided, and sent to partners, once more",
        do=f"stop all workers and set it to {decided} (kafka-consumer-groups --reset-offsets --to-offset); to have "
        "quarantined transfers decided again: transfer-gate replay plan",
    )


def require_history_home(
    consents: str, committed: Mapping[int, Mapping[str, Committed]], topic_id: str, partitions: int
) -> None:
    """Hold that events which were placed while `consents` had fewer partitions are applied, in all partitions of the
    group: `committed` of each, by input topic. Raises HistoryNotHome.

    They are not where offsets were set back to have the history folded anew. The events of a prospect may stand in
    another partition than the one in which it is decided now, where no barrier covers them.
    """
    behind = []
    for number, offsets in committed.items():
        notes = [note for found in offsets.values() if (note := read_note(found)) is not None]
        lives = [life for note in notes if (life := note.topics.get(consents)) and life.topic_id == topic_id]
        applied = offsets[consents].offset if consents in offsets else 0
        if any(applied < placed.below for life in lives for placed in life.placed):
            behind.append(number)
    if behind:
        raise HistoryNotHome(
            f"the group stands before events of {consents} (partition {', '.join(map(str, sorted(behind)))}) that were "
            "placed while it had fewer partitions: their prospects are decided in other partitions now, where their "
            "withdrawals would not be seen. Nothing is decided",
            do=f"stop all workers and run: transfer-gate topics grow --partitions {partitions}: it applies them where "
            "their prospects are (docs/how-to/grow.md)",
        )


Offsets = Mapping[tuple[str, int], Committed]


async def lacking_offsets(
    writer: TransactionalWriter, options: Mapping[str, Any], book: Rulebook, identities: Identities, known: Offsets
) -> frozenset[int]:
    """Partitions of which a forgotten group has no offset of transfers; none for a group that is known, or new.

    `known`: what the group has committed, as of a moment ago. Raises RoundFailed when the cluster does not answer.
    """
    if _noted(known, book.noted):
        return frozenset()
    logs = [(topic, identities[topic].partitions) for topic in (book.changelog, book.ledger)]
    if not any([await any_committed(options, topic, count) for topic, count in logs]):
        return frozenset()
    # Once more, behind the logs: another worker may just be committing the first round of a new installation.
    numbers = range(identities[book.transfers].partitions)
    found = await writer.committed_unless_pending(book.noted, numbers)
    if found is None or _noted(found, book.noted):
        return frozenset()
    return frozenset(numbers) - {number for topic, number in found if topic == book.transfers}


def _noted(offsets: Offsets, topics: Collection[str]) -> bool:
    return any(read_note(found) is not None for (topic, _), found in offsets.items() if topic in topics)
