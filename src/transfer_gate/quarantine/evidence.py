"""The decision record that explains why a record was held, found by the time that both carry."""

import datetime as dt
from contextlib import aclosing

import msgspec
from aiokafka import TopicPartition

from transfer_gate.kafka.clients import broker_errors
from transfer_gate.kafka.reader import bounds, committed_records, offsets_at
from transfer_gate.quarantine.selection import Found
from transfer_gate.records.decisions import DecisionRecord
from transfer_gate.settings import Settings


async def decision_behind(settings: Settings, one: Found) -> DecisionRecord | None:
    """The decision that held this record; None for an unreadable consent event, or when it is not kept any more.

    Evidence and quarantine are written in one transaction, to partitions of one number: reading begins at the time of
    the decision, and the record is among the first.
    """
    if one.held.decision_id is None:
        return None
    topic = settings.topics.decisions
    place = TopicPartition(topic, one.record.partition)
    at_ms = int(dt.datetime.fromisoformat(one.held.quarantined_at).timestamp() * 1000)
    async with broker_errors(settings):
        _, ends = await bounds(settings, {topic: one.record.partition + 1}, committed_only=True)
        starts = await offsets_at(settings, [place], at_ms)
        if starts.get(place, ends[place]) >= ends[place]:
            return None
        async with aclosing(committed_records(settings, {place: ends[place]}, starts)) as batches:
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
