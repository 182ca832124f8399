"""Whether the group stands where it has decided up to. Brokers forget the offsets of a group that stands still
(`offsets.retention.minutes`), those of all its partitions at once, and operators set them; what it wrote stays.

A partition without a state and without an offset looks like one that was never decided. So it is the whole group that
is looked at: every partition notes something beside its offsets a second after it was first taken over. Whatever stands
in the changelog was committed with a note, and something stands there from the first round on.

Where no note is left, because an operator set all offsets of a partition at once, because the group was deleted, or
because another gate (APP_ID) has decided on these topics, the evidence shows up to where it was decided. What a round
decides stands in the partition of `transfer-decisions` that has the number of its source's, in the order of the
sources. So the last first attempt of a partition shows where it stands, and a short tail shows that.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.errors import BrokerUnavailable, GateError
from transfer_gate.gate.integrity.commit_note import note_of, read_note
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.coordinator import Committed, PartitionStops, RoundFailed
from transfer_gate.kafka.log_reader import any_committed
from transfer_gate.kafka.reader import Reader
from transfer_gate.kafka.topic_watch import Identities
from transfer_gate.kafka.transaction import TransactionalWriter
from transfer_gate.model.topics import Topics
from transfer_gate.records.commit_notes import CommitNote, LogIdentity
from transfer_gate.records.decisions import SourcePlace, decode_decision
from transfer_gate.settings import Settings

Offsets = Mapping[tuple[str, int], Committed]
"""What a group has committed, by topic and partition."""

#: Offsets at the end of a partition that are read first; where they hold replays only, four times as many before them.
_TAIL: Final = 1_000


class OffsetsLost(PartitionStops):
    """The group has forgotten up to where transfers are decided: all that are still there would be sent once more."""


class OffsetMoved(PartitionStops):
    """An operator set an offset of the group to where it must not go on."""


class HistoryNotHome(GateError):
    """Consent events that stand in their places of an earlier partition count are not applied."""


def has_note(committed: Iterable[Committed]) -> bool:
    """Whether a note of the gate's stands beside any of these offsets."""
    return any(read_note(found) is not None for found in committed)


def require_offsets(transfers: str, partition: int, committed: Mapping[str, Committed], *, has_state: bool) -> None:
    """Hold that the group still knows up to where it has decided: that it has an offset of `transfers` where the
    changelog or the ledger hold something (`has_state`). Raises OffsetsLost.

    A state was committed with offsets, in the same transaction, and the changelog is this app id's
    alone. A note beside any offset shows that the group is not forgotten: then transfers were not
    looked at yet, or their topic was made anew, and they are to be read from their beginning. A partition that holds
    nothing is protected by the others: see `lacking_offsets`.
    """
    if not has_state or transfers in committed or has_note(committed.values()):
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


async def lacking_offsets(
    writer: TransactionalWriter, options: Mapping[str, Any], book: Rulebook, identities: Identities, known: Offsets
) -> frozenset[int]:
    """Partitions of which a forgotten group has no offset of transfers; none for a group that is known, or new.

    `known`: what the group has committed, as of a moment ago. Raises RoundFailed when the cluster does not answer.
    """
    if has_note(offset for (topic, _), offset in known.items() if topic in book.noted):
        return frozenset()
    logs = [(topic, identities[topic].partitions) for topic in (book.changelog, book.ledger)]
    if not any([await any_committed(options, topic, count) for topic, count in logs]):
        return frozenset()
    # Once more, behind the logs: another worker may just be committing the first round of a new installation.
    numbers = range(identities[book.transfers].partitions)
    found = await writer.committed_unless_pending(book.noted, numbers)
    if found is None or has_note(found.values()):
        return frozenset()
    return frozenset(numbers) - {number for topic, number in found if topic == book.transfers}


class DecidedUpTo(Struct, frozen=True):
    """Transfers of a partition below the offset `transfers` are decided; `topic_id` as in `SourcePlace`."""

    transfers: int = 0
    topic_id: str | None = None

    def after(self, source: SourcePlace) -> "DecidedUpTo":
        """What one more first attempt shows, behind those that are known: the later topic of a name counts, and of one
        topic the furthest, should an earlier fault have had it decided twice.
        """
        reached = source.offset + 1
        return DecidedUpTo(max(reached, self.transfers if source.topic_id == self.topic_id else 0), source.topic_id)


NOTHING_DECIDED: Final = DecidedUpTo()


async def last_decided(
    reader: Reader, decisions: str, transfers: str, partitions: int, numbers: Collection[int]
) -> dict[int, DecidedUpTo]:
    """What is decided of these partitions (of all `partitions`); those without a decision are left out.

    Reads backwards, until it meets a first attempt: what was deleted by retention shows nothing any more. Raises
    BrokerUnavailable, AccessDenied.
    """
    begins, ends = await reader.bounds({decisions: partitions}, committed_only=True)
    left = {place: end for place, end in ends.items() if place.partition in numbers and begins[place] < end}
    found: dict[int, DecidedUpTo] = {}
    tail = _TAIL
    while left:
        starts = {place: max(begins[place], end - tail) for place, end in left.items()}
        async for records in reader.records(left, starts):
            for record in records:
                decision = decode_decision(record.value)
                if decision is not None and decision.attempt == 1 and decision.source.topic == transfers:
                    known = found.get(record.partition, NOTHING_DECIDED)
                    found[record.partition] = known.after(decision.source)
        left = {
            place: start for place, start in starts.items() if start > begins[place] and place.partition not in found
        }
        tail *= 4
    return found


class OffsetEvidence:
    """What is held against a group's offsets in partitions without a note; see `evidence_of`."""

    def __init__(
        self,
        group: str,
        topics: Topics,
        ids: Mapping[str, str],
        decided: Mapping[int, DecidedUpTo],
        begins: Mapping[TopicPartition, int],
    ) -> None:
        self._group = group
        self._topics = topics
        self._ids = ids
        self._decided = decided
        self._begins = begins

    def note(self, number: int, committed: Mapping[str, Committed]) -> CommitNote:
        """The note that holds for a partition (`note_of`). Of one that was lost with all others, what the evidence
        shows: that the topic of transfers is not the first of its name, so that its records keep names of their own.
        """
        note = note_of(committed, self._topics.consents, self._ids)
        topic_id = self._of(number).topic_id
        if has_note(committed.values()) or topic_id is None:
            return note
        return replace(note, topics={self._topics.transfers: LogIdentity(topic_id, 1)})

    def require(self, number: int, committed: Mapping[str, Committed]) -> None:
        """Hold that a partition without a note decides nothing twice and skips no event. Raises OffsetMoved."""
        transfers = self._topics.transfers
        if has_note(committed.values()):
            return
        require_undecided(self._group, transfers, number, committed, self._of(number), self._ids[transfers])
        for topic in (self._topics.consents, self._topics.strays):
            require_folded_anew(self._group, topic, number, committed, self._begins[TopicPartition(topic, number)])

    def _of(self, number: int) -> DecidedUpTo:
        return self._decided.get(number, NOTHING_DECIDED)


async def evidence_of(
    settings: Settings,
    reader: Reader,
    identities: Identities,
    known: Offsets,
    numbers: Collection[int],
) -> OffsetEvidence:
    """The evidence of those of these partitions that have no note; `known`: what the group has committed.

    Raises BrokerUnavailable, AccessDenied.
    """
    topics = settings.topics
    inputs = (*topics.inputs(), topics.ledger)
    noted = {number for (topic, number), found in known.items() if topic in inputs and has_note([found])}
    unnoted = set(numbers) - noted
    ids = {topic: found.topic_id for topic, found in identities.items()}
    if not unnoted:
        return OffsetEvidence(settings.app_id, topics, ids, {}, {})
    partitions = identities[topics.transfers].partitions
    decided = await last_decided(reader, topics.decisions, topics.transfers, partitions, unnoted)
    begins, _ = await reader.bounds(dict.fromkeys((topics.consents, topics.strays), partitions), committed_only=False)
    return OffsetEvidence(settings.app_id, topics, ids, decided, begins)


async def read_evidence(
    settings: Settings,
    options: Mapping[str, Any],
    identities: Identities,
    known: Offsets,
    numbers: Collection[int],
) -> OffsetEvidence:
    """The same on connections of its own, for a take-over. Raises RoundFailed when the cluster does not answer,
    AccessDenied.
    """
    reader = Reader(settings, options)
    try:
        return await evidence_of(settings, reader, identities, known, numbers)
    except BrokerUnavailable as error:
        raise RoundFailed(f"the decision records can't be read: {error.message}") from None
    finally:
        await reader.close()


def require_undecided(
    group: str, transfers: str, partition: int, committed: Mapping[str, Committed], decided: DecidedUpTo, topic_id: str
) -> None:
    """Hold that a group without a note stands behind what is decided. Raises OffsetMoved.

    `committed`: of the partition, by input topic; `topic_id`: of `transfers` now.
    """
    stands = committed[transfers].offset if transfers in committed else 0
    if stands >= decided.transfers or decided.topic_id not in (None, topic_id):
        return
    where = f"stands at {stands}" if transfers in committed else "has no offset"
    raise OffsetMoved(
        f"partition {partition} of {transfers}: the group {group} {where} and has no note of its last commit, but the "
        f"decision records show that transfers below {decided.transfers} are decided: they would be decided, and sent "
        "to partners, once more",
        do="stop all workers and set it behind what is decided: kafka-consumer-groups --bootstrap-server ... "
        f"--group {group} --topic {transfers}:{partition} --reset-offsets --to-offset {decided.transfers} --execute; "
        "to have quarantined transfers decided again: transfer-gate replay plan. If the topic was made anew since, "
        "give the installation another TRANSFER_GATE_TOPIC_PREFIX and TRANSFER_GATE_APP_ID",
    )


def require_folded_anew(group: str, topic: str, partition: int, committed: Mapping[str, Committed], begin: int) -> None:
    """Hold that a group without a note reads consent events, or strays, from where their log begins: nothing shows
    which of them are applied, nor that the changelog is whole. Raises OffsetMoved.
    """
    stands = committed[topic].offset if topic in committed else 0
    if stands <= begin:
        return
    raise OffsetMoved(
        f"partition {partition} of {topic}: the group {group} stands at {stands} and has no note of its last commit: "
        "nothing shows that the events before it are applied, and withdrawals among them, maybe, would never be",
        do="stop all workers and have them applied, those that are applied already once more: kafka-consumer-groups "
        f"--bootstrap-server ... --group {group} --topic {topic}:{partition} --reset-offsets --to-earliest --execute",
    )
