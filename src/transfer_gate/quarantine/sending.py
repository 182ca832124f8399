"""Ask something of the gate by a record on the replay topic, and wait until it has dealt with it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from transfer_gate.kafka.clients import broker_errors, client_options, connected
from transfer_gate.kafka.cluster import open_cluster
from transfer_gate.records.headers import Headers
from transfer_gate.records.replay_requests import portable
from transfer_gate.settings import Settings

_POLL_SECONDS: Final = 0.1
_BATCH_BYTES: Final = 256 * 1024


class Sender:
    """Writes to partitions of the replay topic, in batches, as Kafka's own `send` does not take a record without key
    and value."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._batches: dict[int, Any] = {}
        #: Offset after the last record that this sender wrote to each partition; complete after `flush`.
        self.reached: dict[int, int] = {}

    async def send(self, partition: int, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Add a record; a full batch is sent and acknowledged first."""
        record = {"timestamp": int(time.time() * 1000), "key": key, "value": value, "headers": portable(headers)}
        batch = self._batches.get(partition)
        if batch is None or batch.append(**record) is None:
            await self._flush(partition)
            batch = self._batches[partition] = self._producer.create_batch()
            batch.append(**record)

    async def flush(self) -> None:
        """Wait until everything is acknowledged by every in-sync replica."""
        for partition in list(self._batches):
            await self._flush(partition)

    async def _flush(self, partition: int) -> None:
        batch = self._batches.pop(partition, None)
        if batch is None:
            return
        batch.close()
        written = await (await self._producer.send_batch(batch, self._topic, partition=partition))
        self.reached[partition] = written.offset + batch.record_count()


@asynccontextmanager
async def open_sender(settings: Settings) -> AsyncIterator[Sender]:
    """A sender to the replay topic; everything is flushed at the end. Raises BrokerUnavailable."""
    async with broker_errors(settings):
        producer = AIOKafkaProducer(
            **client_options(settings), acks="all", enable_idempotence=True, max_batch_size=_BATCH_BYTES
        )
        async with connected(producer):
            sender = Sender(producer, settings.topics.replay)
            yield sender
            await sender.flush()


async def applied(settings: Settings, topic: str, reached: Mapping[int, int], patience: float) -> bool:
    """Whether the gate has committed every record of an input topic below `reached`, after up to `patience` seconds."""
    deadline = time.monotonic() + patience
    async with open_cluster(settings) as cluster:
        while True:
            committed = await cluster.committed(settings.app_id)
            if all(committed.get((topic, partition), 0) >= offset for partition, offset in reached.items()):
                return True
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
