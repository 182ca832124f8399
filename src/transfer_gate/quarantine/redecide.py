"""The decision about a quarantined record: that of then, by its decision record, and what the gate decides now."""

import datetime as dt
from contextlib import aclosing

from transfer_gate.gate.replays import Redecision, explain_again, only_of, source_record
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.session import Session
from transfer_gate.model.registry import Registry
from transfer_gate.model.state import ProspectState
from transfer_gate.quarantine.payloads import Payload
from transfer_gate.quarantine.search import Found
from transfer_gate.records.decisions import DecisionRecord, decode_decision
from transfer_gate.records.quarantined import Quarantined


async def decision_behind(session: Session, found: Found) -> DecisionRecord | None:
    """The decision that quarantined this record; None for an unreadable consent event, or when it is not kept any more.

    Evidence and quarantine are written in one transaction, to partitions of one number: reading begins at the time of
    the decision, and the record is among the first.
    """
    if found.held.decision_id is None:
        return None
    topic = session.settings.topics.decisions
    place = TopicPartition(topic, found.record.partition)
    at_ms = int(dt.datetime.fromisoformat(found.held.quarantined_at).timestamp() * 1000)
    _, ends = await session.reader.bounds({topic: found.record.partition + 1}, committed_only=True)
    starts = await session.reader.offsets_at([place], at_ms)
    if starts.get(place, ends[place]) >= ends[place]:
        return None
    async with aclosing(session.reader.records({place: ends[place]}, starts)) as batches:
        async for records in batches:
            for record in records:
                decision = decode_decision(record.value)
                if decision is not None and decision.decision_id == found.held.decision_id:
                    return decision
    return None


def redecide(
    held: Quarantined, key: bytes | None, payload: Payload, state: ProspectState, registry: Registry, now: dt.datetime
) -> Redecision:
    """Decide as the gate does when the record is replayed at `now` (UTC): only what is quarantined of it. `payload` is
    readable.
    """
    source = payload.original or source_record(held, key, payload.value)
    return explain_again(source, only_of(held), state, registry, now)
