"""The decision about a quarantined record: the one of then, by its decision record, and what the gate decides now."""

import datetime as dt
from contextlib import aclosing

import msgspec
from aiokafka import TopicPartition
from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.kafka.session import Session
from transfer_gate.kafka.sizes import unheld
from transfer_gate.model.registry import Registry
from transfer_gate.model.state import ProspectState
from transfer_gate.policy.explain import Explanation, explain
from transfer_gate.quarantine.payloads import Payload
from transfer_gate.quarantine.search import Found
from transfer_gate.records.decisions import ANY_CHANNEL, DecisionRecord
from transfer_gate.records.quarantined import Held
from transfer_gate.records.transfers import SchemaInvalid, Undecodable, decode_transfer


async def decision_behind(session: Session, one: Found) -> DecisionRecord | None:
    """The decision that held this record; None for an unreadable consent event, or when it is not kept any more.

    Evidence and quarantine are written in one transaction, to partitions of one number: reading begins at the time of
    the decision, and the record is among the first.
    """
    if one.held.decision_id is None:
        return None
    topic = session.settings.topics.decisions
    place = TopicPartition(topic, one.record.partition)
    at_ms = int(dt.datetime.fromisoformat(one.held.quarantined_at).timestamp() * 1000)
    _, ends = await session.reader.bounds({topic: one.record.partition + 1}, committed_only=True)
    starts = await session.reader.offsets_at([place], at_ms)
    if starts.get(place, ends[place]) >= ends[place]:
        return None
    async with aclosing(session.reader.records({place: ends[place]}, starts)) as batches:
        async for records in batches:
            for record in records:
                decision = _decision(record.value)
                if decision is not None and decision.decision_id == one.held.decision_id:
                    return decision
    return None


def _decision(raw: bytes | None) -> DecisionRecord | None:
    try:
        return msgspec.json.decode(raw or b"", type=DecisionRecord)
    except msgspec.DecodeError:
        return None


class Afresh(Struct, frozen=True, kw_only=True):
    """The decision of now. `reasons`: channel to reasons where the record is held before any rule is asked, with the
    one key `*` when it can't be read; otherwise `explanations`, one a partner.
    """

    reasons: dict[str, tuple[str, ...]] = {}
    explanations: tuple[Explanation, ...] = ()


def decide_afresh(
    held: Held, key: bytes | None, payload: Payload, state: ProspectState, registry: Registry, now: dt.datetime
) -> Afresh:
    """Decide as the gate does when the record is replayed at `now` (UTC): only what is held of it. `payload` is
    readable.
    """
    why = None if payload.original is None else unheld(payload.original)
    if why is not None:
        return Afresh(reasons={ANY_CHANNEL: (why,)})
    value = payload.value
    try:
        transfer = decode_transfer(value)
    except Undecodable:
        return Afresh(reasons={ANY_CHANNEL: ("undecodable",)})
    except SchemaInvalid:
        return Afresh(reasons={ANY_CHANNEL: ("schema-invalid",)})
    if held.partner_id is not None:
        transfer = replace(transfer, partner_ids=(held.partner_id,), channels=held.channels)
    if key is None or transfer.prospect_id.encode() != key:
        return Afresh(reasons={str(channel): ("key-mismatch",) for channel in transfer.channels})
    return Afresh(explanations=explain(transfer, state, registry, now))
