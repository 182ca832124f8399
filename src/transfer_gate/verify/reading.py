"""Read what came out: quarantine, decisions, the topics of the partners."""

from collections.abc import Callable, Iterable

from transfer_gate.kafka.reader import Offsets, committed_records
from transfer_gate.records.headers import PREFIX, SOURCE_TOPIC
from transfer_gate.settings import Settings
from transfer_gate.verify.consents import UnreadableConsents
from transfer_gate.verify.outcomes import Outcomes
from transfer_gate.verify.sealed import Payloads


async def read_outcomes(
    settings: Settings,
    stops: Offsets,
    outcomes: Outcomes,
    consents: UnreadableConsents,
    payloads: Payloads,
    partner_topics: Iterable[str],
    say: Callable[[str], None],
) -> None:
    """Take in everything up to `stops`, in the order that `Outcomes` needs."""
    topics = settings.topics
    await _read_quarantine(settings, of_topics(stops, topics.quarantine), outcomes, consents, payloads, say)
    async for records in committed_records(settings, of_topics(stops, topics.decisions)):
        for record in records:
            outcomes.decision(record.value)
    count = 0
    async for records in committed_records(settings, of_topics(stops, *partner_topics)):
        for record in records:
            outcomes.release(record.topic, record.key, record.value)
        count += len(records)
    say(f"read {count:,} records of the partners' topics")
    outcomes.join_by_event()


async def _read_quarantine(
    settings: Settings,
    stops: Offsets,
    outcomes: Outcomes,
    consents: UnreadableConsents,
    payloads: Payloads,
    say: Callable[[str], None],
) -> None:
    consent_topic = settings.topics.consents.encode()
    # With keys, one partition after the other: then only the keys of one are in memory.
    runs = [{place: stop} for place, stop in stops.items()] if payloads.has_masters else [dict(stops)]
    count = 0
    for run in runs:
        if payloads.has_masters:
            await payloads.load(*(place.partition for place in run))
        async for records in committed_records(settings, run):
            for record in records:
                ours = {name: text or b"" for name, text in record.headers if name.startswith(PREFIX)}
                value, opened = payloads.open(record.key, record.value, record.headers)
                take = consents.copy if ours.get(SOURCE_TOPIC) == consent_topic else outcomes.quarantine
                take(record.key, value, record.headers, opened=opened)
            count += len(records)
    say(f"read {count:,} records of {settings.topics.quarantine}")


def of_topics(ends: Offsets, *topics: str) -> Offsets:
    """The offsets of some topics."""
    return {place: end for place, end in ends.items() if place.topic in topics}
