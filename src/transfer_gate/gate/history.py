"""Whether the logs still hold what the gate needs of them. Nobody may decide from a history with holes: the missing
part may have been an objection.

A consumer that finds its place deleted, or a table that finds its changelog empty, would go on as if nothing had ever
been there. So every commit notes beside the offset of consents up to where changelog and replay ledger reach, and every
new owner compares. Whoever resets that offset to the earliest resets the note with it: then the history is folded anew,
and with that begins another *life* of the logs, so that a table on disk that stems from the one before is not believed.

The offsets themselves can be gone, too: brokers forget those of a group that stood still for too long.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.errors import GateError
from transfer_gate.kafka.coordinator import PartitionStops
from transfer_gate.kafka.transaction import Committed
from transfer_gate.records.placements import Placed, read_placed, written_of

#: The way out of every loss that forgets nobody and decides no transfer twice.
_FOLD_ANEW: Final = (
    "stop all workers and reset the group's offsets of consent-events, and of no other topic, to the earliest "
    "(kafka-consumer-groups --reset-offsets --to-earliest): the gate then folds it anew before it decides"
)


_BRING_BACK: Final = (
    f"{_FOLD_ANEW}, if consent-events still has the whole history; else bring the topic back from a copy first "
    "(docs/reference/what-happens-when.md). A replay ledger can't be folded anew: what was replayed may then be "
    "replayed again"
)


class Reach(NamedTuple):
    """Up to which offset a log must reach, and of which life a table that follows it must be."""

    end: int
    life: str


class Life(NamedTuple):
    """Which topic of its name a log is: its id (KIP-516), and how many stood under the name before it, as far as the
    gate has seen; the leader epoch of the last batch that was taken of it (KIP-320), -1 where that is not known; and
    up to where the records of this partition were placed under fewer partitions (`topics grow`).
    """

    topic_id: str
    number: int = 0
    epoch: int = -1
    placed: tuple[Placed, ...] = ()

    def __str__(self) -> str:
        return f"{self.topic_id}:{self.number}:{self.epoch}{written_of(self.placed)}"


def life_of(known: Life | None, topic_id: str) -> Life:
    """The life of the topic that is there now, after the one that is known of its name."""
    if known is None:
        return Life(topic_id)
    return known if known.topic_id == topic_id else Life(topic_id, known.number + 1)


class CommitNote(Struct, frozen=True):
    """What a commit notes beside the offset of every input topic, because brokers forget those of a topic that is
    deleted: the life of the consent table, up to where the consent changelog and the replay ledger reached, under which
    partition count, on which topics, by which registry (`published_at/revision`), and in which format of states.
    """

    life: str
    changelog_end: int = 0
    ledger_end: int = 0
    partitions: int = 0
    topics: Mapping[str, Life] = {}
    registry: str = ""
    state_format: int = 0

    def __str__(self) -> str:
        said = f"life={self.life} changelog={self.changelog_end} ledger={self.ledger_end}"
        if self.partitions:
            said += f" partitions={self.partitions}"
        if self.topics:
            lives = ",".join(f"{topic}:{life}" for topic, life in self.topics.items())
            said += f" topics={lives}"
        if self.registry:
            said += f" registry={self.registry}"
        return f"{said} format={self.state_format}" if self.state_format else said

    @property
    def changelog(self) -> Reach:
        """What holds for the consent changelog."""
        return Reach(self.changelog_end, self.life)

    @property
    def ledger(self) -> Reach:
        """What holds for the replay ledger."""
        return Reach(self.ledger_end, self.life)


class OffsetsLost(PartitionStops):
    """The group has forgotten up to where transfers are decided: all that are still there would be sent once more."""


class HistoryNotHome(GateError):
    """Consent events that stand in their places of an earlier partition count are not applied."""


class HistoryLost(PartitionStops):
    """Records that tell what people want are gone from a log: nobody can know what they said."""


def noted(consents: Committed | None) -> CommitNote:
    """Read the note beside a committed offset. Where there is none, as at a first start, another life begins."""
    return read_note(consents) or CommitNote(secrets.token_hex(8))


def note_of(committed: Mapping[str, Committed], consents: str, identities: Mapping[str, str]) -> CommitNote:
    """The note that holds for a partition, of those beside the committed offsets of its input topics.

    `identities`: topic to its id now. An offset of `consents` without a note was set by an operator: then the table is
    made anew, and so it is when that offset is gone although the topic is still the one that was noted. A topic that
    was made anew has lost its offset with its records; what was applied of it stays.
    """
    found = next((note for topic in (consents, *committed) if (note := read_note(committed.get(topic)))), None)
    if found is None:
        return noted(None)
    if read_note(committed.get(consents)) is not None:
        return found
    known = found.topics.get(consents)
    if consents not in committed and known is not None and known.topic_id != identities.get(consents):
        return found
    return replace(found, life=noted(None).life, changelog_end=0, ledger_end=0)


def read_note(committed: Committed | None) -> CommitNote | None:
    """The note beside a committed offset; None where there is none of the gate's."""
    parts = dict(part.partition("=")[::2] for part in (committed.note if committed else "").split())
    try:
        topics = [text.split(":") for text in parts.get("topics", "").split(",") if text]
        return CommitNote(
            parts["life"],
            int(parts["changelog"]),
            int(parts["ledger"]),
            int(parts.get("partitions", "0")),
            {topic: _read_life(parts) for topic, *parts in topics},
            parts.get("registry", ""),
            int(parts.get("format", "0")),
        )
    except (KeyError, ValueError):
        return None


def _read_life(parts: Sequence[str]) -> Life:
    """Raises ValueError."""
    topic_id, *numbers = parts
    number, epoch, *placed = (*numbers, *("0", "-1")[len(numbers) :])
    return Life(topic_id, int(number), int(epoch), read_placed(placed))


def require_offsets(
    transfers: str, consents: str, partition: int, committed: Mapping[str, Committed], *, worked: bool
) -> None:
    """Hold that the group still knows up to where it has decided: that it has an offset of `transfers` where the
    changelog or the ledger hold something (`worked`). Raises OffsetsLost.

    Whoever committed a state committed offsets with it, in the same transaction, and the changelog is this app id's
    alone. A note of ours beside the offset of `consents` tells that the group is not forgotten: then transfers were not
    looked at yet, or their topic was made anew, and they are to be read from their beginning. A partition that holds
    nothing is protected by the others: see `gate.forgotten`.
    """
    if not worked or transfers in committed or read_note(committed.get(consents)) is not None:
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


def require_same_log(topic: str, partition: int, noted: Life | None, found_id: str, reach: int) -> None:
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
