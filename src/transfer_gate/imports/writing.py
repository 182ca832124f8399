"""Write consent events into the partitions of their keys, in batches, and wait until every in-sync replica has them."""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from transfer_gate.errors import InvalidInput
from transfer_gate.imports.mapper import MappedEvent
from transfer_gate.kafka.cluster import Cluster
from transfer_gate.kafka.producer import Producer
from transfer_gate.kafka.requests import TopicIds, topic_ids_of
from transfer_gate.kafka.session import Session
from transfer_gate.records.partitioner import Placement
from transfer_gate.settings import Settings

#: How long the brokers may take to acknowledge a chunk, seconds.
_ACKNOWLEDGED_SECONDS: Final = 60.0


class EventWriter:
    """Writes to a topic of consent events. `topic_id` (KIP-516) and `partitions`: of the topic as it is."""

    def __init__(self, producer: Producer, placement: Placement, topic: str, topic_id: str, partitions: int) -> None:
        self._producer, self._topic, self._placement = producer, topic, placement
        self.topic_id, self.partitions = topic_id, partitions

    async def write(self, events: Sequence[MappedEvent]) -> None:
        """Write some events; when it returns, all are acknowledged. Raises BrokerUnavailable, also when that takes
        longer than a minute.
        """
        by_partition: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
        home = self._placement.home
        for event in events:
            by_partition[home(event.key) or 0].append((event.key, event.value))
        await self._producer.write_all(self._topic, by_partition, _ACKNOWLEDGED_SECONDS)


async def require_topic(cluster: Cluster, settings: Settings) -> tuple[str, int]:
    """Id (KIP-516) and partition count of the topic of consent events.

    Raises InvalidInput when the topic is missing, or has another partition count than `prospect-transfers`, where that
    may be seen: equal keys would not meet. Raises BrokerUnavailable, AccessDenied.
    """
    consents, transfers = settings.topics.consents, settings.topics.transfers
    found = topic_ids_of(await cluster.send(TopicIds((consents, transfers))))
    if consents not in found:
        raise InvalidInput(
            f"no topic {consents} on this cluster, or no right to write it",
            do="run: transfer-gate topics apply; rights: docs/reference/access.md",
        )
    topic_id, partitions = found[consents]
    _, others = found.get(transfers, ("", partitions))
    if others != partitions:
        raise InvalidInput(
            f"{consents} has {partitions} partitions, {transfers} has {others}",
            do="equal keys must meet in equal partitions: see transfer-gate topics apply",
        )
    return topic_id, partitions


@asynccontextmanager
async def open_writer(session: Session) -> AsyncIterator[EventWriter]:
    """A writer to the topic of consent events. Raises what `require_topic` raises."""
    settings = session.settings
    topic_id, partitions = await require_topic(session.cluster, settings)
    placement, topic = Placement(settings.partitioner, partitions), settings.topics.consents
    producer = Producer(session.options, session.cluster, compression="zstd")
    try:
        yield EventWriter(producer, placement, topic, topic_id, partitions)
    finally:
        await producer.close()
