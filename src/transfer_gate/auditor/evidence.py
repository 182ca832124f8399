"""What a past decision saw, gathered again: its record, its source, the consent events that it had applied.

Contract section 6, promise 5: where the source is gone, the decision record alone has to do.
"""

from collections.abc import Set as AbstractSet
from contextlib import aclosing

from msgspec import Struct

from transfer_gate.errors import InvalidInput, NothingMatched
from transfer_gate.gate.decider import Only
from transfer_gate.gate.inbox import Record
from transfer_gate.gate.integrity.identity import lives_of
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.session import Session, open_session
from transfer_gate.kafka.sizes import measured
from transfer_gate.model.state import EMPTY, OneState, ProspectState
from transfer_gate.records.cloudevents import is_structured
from transfer_gate.records.consents import ConsentFold
from transfer_gate.records.decisions import DecisionRecord, decode_decision
from transfer_gate.records.input_json import UnreadableRecord
from transfer_gate.records.partitioner import Placements, stray_offset
from transfer_gate.records.state import received_at
from transfer_gate.records.transfers import decode_transfer
from transfer_gate.settings import Settings


class Evidence(Struct, frozen=True, kw_only=True):
    """A decision record, and what it was taken on.

    `source` is the input record, `only` the part of it that the decision is about. None when it can't be had or read;
    then `state` is empty. `doubts` are sentences on what is missing.
    """

    record: DecisionRecord
    source: Record | None
    only: Only | None
    state: ProspectState
    doubts: tuple[str, ...]


async def gather(settings: Settings, decision_id: str, unidentified: AbstractSet[str]) -> Evidence:
    """Read the topics for what the decision of that id saw; `unidentified`: see `decode_consent`.

    Raises InvalidInput when there is no topic of decisions, NothingMatched when no decision has the id,
    BrokerUnavailable.
    """
    topics = settings.topics
    async with open_session(settings) as session:
        cluster = session.cluster
        counts = {name: topic.partitions for name, topic in (await cluster.topics()).items()}
        if topics.decisions not in counts:
            raise InvalidInput(f"no topic {topics.decisions} on this cluster", do="run: transfer-gate topics apply")
        record, partition = await _decision(session, decision_id, counts[topics.decisions])
        place = TopicPartition(record.source.topic, record.source.partition)
        is_there = place.partition < counts.get(place.topic, 0)
        source = await session.reader.record_at(place, record.source.offset) if is_there else None
        only, doubt = _part(record, source)
        if source is None or only is None:
            return Evidence(record=record, source=None, only=None, state=EMPTY, doubts=(doubt,))
        # A replay is decided where the prospect is, which is not where it was once, if the topics have grown.
        seen = TopicPartition(topics.consents, partition)
        if seen.partition >= counts.get(seen.topic, 0):
            doubt = f"{seen.topic} has no partition {seen.partition}: its consent events are unknown"
            return Evidence(record=record, source=None, only=None, state=EMPTY, doubts=(doubt,))
        own = (await lives_of(cluster, settings)).own(*seen)
        if record.consent.topic_id != own:
            doubt = f"{seen.topic} was deleted and made anew since: the consent events that it saw are gone"
            return Evidence(record=record, source=None, only=None, state=EMPTY, doubts=(doubt,))
        key = source.key or b""
        state, doubts = await _state(session, seen, counts[seen.topic], record.consent.offset, key, unidentified)
        if own is not None:
            doubts = (*doubts, f"{seen.topic} is not the first of its name: what a former one held is missing here")
        placements = await cluster.placements(settings, counts[seen.topic])
        if placements.grown:
            state = await _with_moved(session, state, seen, counts[seen.topic], key, placements, unidentified)
        return Evidence(record=record, source=source, only=only, state=state, doubts=doubts)


async def _decision(session: Session, decision_id: str, partitions: int) -> tuple[DecisionRecord, int]:
    """The decision of that id, and the partition in which it was taken."""
    _, ends = await session.reader.bounds({session.settings.topics.decisions: partitions}, committed_only=True)
    written = decision_id.encode()
    async with aclosing(session.reader.records(ends)) as reading:
        async for records in reading:
            for record in records:
                # Decoding every record would take most of the time.
                if record.value is not None and written in record.value:
                    decision = decode_decision(record.value)
                    if decision is not None and decision.decision_id == decision_id:
                        return decision, record.partition
    raise NothingMatched(
        f"no decision {decision_id} in {session.settings.topics.decisions}",
        do="take the id from a decision record, or from the header tg-decision-id; retention may have deleted it",
    )


def _part(decision: DecisionRecord, source: Record | None) -> tuple[Only | None, str]:
    """What the decision is about; else a sentence on why it can't be had."""
    place = f"{decision.source.topic}/{decision.source.partition} offset {decision.source.offset}"
    if source is None:
        return None, f"the source record, {place}, is no longer there"
    if measured(source)[1] != decision.input_sha256:
        return None, f"another record stands at {place} now: the source is no longer there"
    if decision.partner_id is None:
        return None, f"the source record, {place}, could not be read, so no rule was evaluated"
    try:
        transfer = decode_transfer(source.value, source.headers)
    except UnreadableRecord:
        return None, f"the source record, {place}, can't be read by this version of the gate"
    channels = tuple(c for c in transfer.channels if c in decision.released or c in decision.quarantined)
    return Only(decision.partner_id, channels), ""


async def _state(
    session: Session, place: TopicPartition, partitions: int, seen: int, key: bytes, unidentified: AbstractSet[str]
) -> tuple[ProspectState, tuple[str, ...]]:
    """The consent state of a prospect after the events below offset `seen`, and what is missing of them."""
    begins, ends = await session.reader.bounds({place.topic: partitions}, committed_only=False)
    doubts = []
    if begins[place] > 0:
        doubts.append(f"the consent events below offset {begins[place]} are deleted: they are missing here")
    if ends[place] < seen:
        doubts.append(f"{place.topic}/{place.partition} ends at {ends[place]}, below the offset {seen} that was seen")
    alone, consents = OneState(key), ConsentFold(session.settings.bounds, unidentified)
    until = min(seen, ends[place])
    if begins[place] < until:
        async with aclosing(session.reader.records({place: until})) as reading:
            async for records in reading:
                for record in records:
                    # One that can't be read marks the prospect that it names, too.
                    if record.key == key or key in (record.value or b"") or is_structured(record.headers):
                        received = received_at(record.timestamp)
                        consents.apply(alone, record.key, record.value, record.offset, received, record.headers)
    return alone.state, tuple(doubts)


async def _with_moved(
    session: Session,
    state: ProspectState,
    seen: TopicPartition,
    partitions: int,
    key: bytes,
    placements: Placements,
    unidentified: AbstractSet[str],
) -> ProspectState:
    """The same with the events of the prospect that stood in another partition when the topics grew."""
    _, ends = await session.reader.bounds({seen.topic: partitions}, committed_only=True)
    elsewhere = {place: end for place, end in ends.items() if place.partition != seen.partition}
    alone, consents = OneState(key, state), ConsentFold(session.settings.bounds, unidentified)
    async with aclosing(session.reader.records(elsewhere)) as reading:
        async for records in reading:
            for record in records:
                if record.key == key and placements.moved(record.topic, record.partition, record.offset, key):
                    name = stray_offset(record.partition, record.offset)
                    received = received_at(record.timestamp)
                    consents.apply(alone, key, record.value, name, received, record.headers)
    return alone.state
