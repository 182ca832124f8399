"""Consent events in other partitions than their keys': whether some are still on their way home, and whether a producer
goes on placing keys by another partitioner.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Final

from transfer_gate.doctor.finding import Finding
from transfer_gate.kafka.cluster import FoundTopic
from transfer_gate.kafka.session import Session
from transfer_gate.settings import PREFIX

#: A stray that is younger says that its producer was not mended yet.
_RECENT: Final = dt.timedelta(days=7)
_CHECK: Final = "strays"
_PRODUCER: Final = (
    f"set the partitioner of that producer to Kafka's (murmur2), or {PREFIX}PARTITIONER to that of all producers "
    "(docs/runbooks/TransferGateConsentStray.md)"
)


async def strays(session: Session, found: Mapping[str, FoundTopic], now: dt.datetime) -> list[Finding]:
    """One finding, of the topic of strays. Raises BrokerUnavailable, AccessDenied."""
    topic = session.settings.topics.strays
    if topic not in found:
        return []  # told as a missing topic
    begins, ends = await session.reader.bounds({topic: found[topic].partitions}, committed_only=True)
    committed = await session.cluster.committed(session.settings.app_id)
    # Markers of transactions have offsets, too: one for each round that brought some home.
    waiting = {
        place.partition: left
        for place, end in ends.items()
        if (left := end - committed.get((place.topic, place.partition), begins[place])) > 0
    }
    newest = await session.reader.newest_timestamp(topic, found[topic].partitions)
    return [judged(sum(end - begins[place] for place, end in ends.items()), waiting, newest, now)]


def judged(offsets: int, waiting: Mapping[int, int], newest_ms: int | None, now: dt.datetime) -> Finding:
    """What to say of so many offsets of strays, of which those in `waiting` are not folded, by partition."""
    if waiting:
        listed = ", ".join(f"{left} in partition {number}" for number, left in sorted(waiting.items()))
        return Finding(
            _CHECK,
            "warn",
            f"consent events are on their way to the partition of their key, and not folded there yet: {listed} "
            "(offsets)",
            f"have a worker running that owns these partitions: until then nobody is decided with them; {_PRODUCER}",
        )
    if newest_ms is None:
        return Finding(_CHECK, "ok", "no consent event stood in another partition than its key's")
    newest = dt.datetime.fromtimestamp(newest_ms / 1000, dt.UTC)
    told = f"all that stood elsewhere are home ({offsets:,} offsets, the newest of {newest:%Y-%m-%d %H:%M} UTC)"
    if newest < now - _RECENT:
        return Finding(_CHECK, "ok", told)
    return Finding(_CHECK, "warn", f"{told}: a producer places keys by another partitioner", _PRODUCER)
