"""Write consent events into the partitions of their keys, in batches, and wait until every in-sync replica has them."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError

from transfer_gate.errors import InvalidInput
from transfer_gate.imports.mapper import MappedEvent
from transfer_gate.kafka.clients import broker_errors, client_options
from transfer_gate.kafka.requests import TopicIds, topic_ids_of
from transfer_gate.records.partitioner import Placement
from transfer_gate.settings import Settings

#: How long the brokers may take to acknowledge a chunk, seconds. An idempotent producer of aiokafka would try for ever.
_ACKNOWLEDGED_SECONDS: Final = 60.0
#: How long it may take to stop, seconds: it waits for what is not acknowledged.
_STOP_SECONDS: Final = 5.0
#: Largest batch, bytes before compression: half of what Kafka takes by default.
_BATCH_BYTES: Final = 512 << 10


class EventWriter:
    """Writes to `consent-events`. `topic_id` (KIP-516) and `partitions`: of the topic as it is."""

    def __init__(self, producer: AIOKafkaProducer, settings: Settings, topic_id: str, partitions: int) -> None:
        self._producer, self._topic = producer, settings.topics.consents
        self._placement = Placement(settings.partitioner, partitions)
        self.topic_id, self.partitions = topic_id, partitions

    async def write(self, events: Sequence[MappedEvent]) -> None:
        """Write some events; when it returns, all are acknowledged.

        Raises aiokafka's errors, its timeout among them when that takes longer than a minute.
        """
        by_partition: dict[int, list[MappedEvent]] = defaultdict(list)
        home = self._placement.home
        for event in events:
            by_partition[home(event.key) or 0].append(event)
        writes = asyncio.gather(*(self._write(partition, some) for partition, some in by_partition.items()))
        try:
            await asyncio.wait_for(writes, _ACKNOWLEDGED_SECONDS)
        except TimeoutError:
            raise KafkaTimeoutError from None

    async def _write(self, partition: int, events: list[MappedEvent]) -> None:
        written = []
        stamp = int(time.time() * 1000)
        batch = self._producer.create_batch()
        for event in events:
            if batch.append(timestamp=stamp, key=event.key, value=event.value) is None:
                written.append(await self._producer.send_batch(batch, self._topic, partition=partition))
                batch = self._producer.create_batch()
                batch.append(timestamp=stamp, key=event.key, value=event.value)
        batch.close()
        written.append(await self._producer.send_batch(batch, self._topic, partition=partition))
        await asyncio.gather(*written)


@asynccontextmanager
async def _connected(producer: AIOKafkaProducer) -> AsyncIterator[None]:
    """A producer while it is started. Without brokers its own stop would wait until they are back."""
    try:
        await producer.start()
        yield
    finally:
        try:
            await asyncio.wait_for(producer.stop(), _STOP_SECONDS)
        except TimeoutError:
            await producer.client.close()


async def require_topic(producer: AIOKafkaProducer, settings: Settings) -> tuple[str, int]:
    """Id (KIP-516) and partition count of `consent-events`, as a started producer sees it.

    Raises InvalidInput when the topic is missing, or has another partition count than `prospect-transfers`, where that
    may be seen: equal keys would not meet.
    """
    topics = settings.topics
    asked = TopicIds((topics.consents, topics.transfers))
    found = topic_ids_of(await producer.client.send(producer.client.get_random_node(), asked))
    if topics.consents not in found:
        raise InvalidInput(
            f"no topic {topics.consents} on this cluster, or no right to write it",
            do="run: transfer-gate topics apply; rights: docs/reference/access.md",
        )
    topic_id, partitions = found[topics.consents]
    _, others = found.get(topics.transfers, ("", partitions))
    if others != partitions:
        raise InvalidInput(
            f"{topics.consents} has {partitions} partitions, {topics.transfers} has {others}",
            do="equal keys must meet in equal partitions: see transfer-gate topics apply",
        )
    return topic_id, partitions


@asynccontextmanager
async def open_writer(settings: Settings) -> AsyncIterator[EventWriter]:
    """Connect as an idempotent producer with `acks=all`.

    Raises InvalidInput when the topic is missing, or has another partition count than `prospect-transfers`, where that
    may be seen: equal keys would not meet. Raises BrokerUnavailable, AccessDenied.
    """
    async with broker_errors(settings):
        producer = AIOKafkaProducer(
            **client_options(settings),
            acks="all",
            enable_idempotence=True,
            max_batch_size=_BATCH_BYTES,
            max_request_size=4 * _BATCH_BYTES,
            compression_type="zstd",
            linger_ms=0,
        )
        async with _connected(producer):
            topic_id, partitions = await require_topic(producer, settings)
            yield EventWriter(producer, settings, topic_id, partitions)
