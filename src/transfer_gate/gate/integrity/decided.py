"""Up to where a partition was decided, by its evidence: for a group that has no note any more, because an operator set
all its offsets at once, because it was deleted, or because another gate (APP_ID) has decided on these topics.

What a round decides stands in the partition of `transfer-decisions` that has the number of its source's, in the order
of the sources. So the last first attempt of a partition shows where it stands, and a short tail shows that.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.errors import BrokerUnavailable
from transfer_gate.gate.integrity.commit_note import note_of, read_note
from transfer_gate.gate.integrity.offsets import OffsetMoved
from transfer_gate.kafka.coordinator import RoundFailed
from transfer_gate.kafka.reader import Reader
from transfer_gate.kafka.topic_watch import Identities
from transfer_gate.kafka.transaction import Committed
from transfer_gate.kafka.types import TopicPartition
from transfer_gate.model.topics import Topics
from transfer_gate.records.commit_notes import CommitNote, LogIdentity
from transfer_gate.records.decisions import SourcePlace, decode_decision
from transfer_gate.settings import Settings

#: Offsets at the end of a partition that are read first; where they hold replays only, four times as many before them.
_TAIL: Final = 1_000


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


def has_note(committed: Iterable[Committed]) -> bool:
    """Whether anything of a partition shows what the gate committed last."""
    return any(read_note(found) is not None for found in committed)


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
    known: Mapping[tuple[str, int], Committed],
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
    known: Mapping[tuple[str, int], Committed],
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
