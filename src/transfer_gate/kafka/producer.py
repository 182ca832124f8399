"""Write records outside of transactions: acknowledged by every in-sync replica, and once."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from transfer_gate.kafka.access import broker_errors
from transfer_gate.kafka.clients import keep_cancellation
from transfer_gate.kafka.cluster import Cluster

Headers = Sequence[tuple[str, bytes | None]]

#: Largest batch, bytes before compression: half of what Kafka takes by default.
_BATCH_BYTES: Final = 512 << 10
#: Of a `PlainProducer`: a record that a topic refuses must not take many others with it.
_SMALL_BATCH_BYTES: Final = 64 << 10
_LARGEST_REQUEST: Final = 4 << 20
#: How long a batch of it waits for more, milliseconds: the price of an answer, and what makes 2,000 a second cheap.
_LINGER_MS: Final = 2
#: How long the producer may take to stop, seconds.
_STOP_SECONDS: Final = 5.0


class Producer:
    """The idempotent producer of a session, connected when it is first used.

    Everything here raises BrokerUnavailable when the cluster can't be reached, AccessDenied when it refuses,
    InvalidInput when the topic is missing: aiokafka would wait 40 s for it.
    """

    def __init__(self, options: Mapping[str, Any], cluster: Cluster, *, compression: str | None = None) -> None:
        self._options = options
        self._cluster = cluster
        #: Topics that are known to exist.
        self._topics: set[str] = set()
        self._compression = compression
        self._client: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            async with keep_cancellation():
                await _stop(client)

    async def write(self, topic: str, partition: int | None, key: bytes | None, value: bytes) -> int:
        """Write a record, to the partition of its key where `partition` is None, and wait until every in-sync replica
        has it; returns the offset after it.
        """
        async with self._connected(topic) as client:
            written = await client.send_and_wait(topic, value, key, partition=partition)
        return int(written.offset) + 1

    async def enqueue(self, topic: str, key: bytes, value: bytes) -> None:
        """Send a record to the partition of its key; `flush` waits for the acknowledgement."""
        async with self._connected(topic) as client:
            await client.send(topic, value, key)

    async def flush(self) -> None:
        """Wait until everything that was sent is acknowledged."""
        async with self._connected() as client:
            await client.flush()

    async def write_all(self, topic: str, records: Mapping[int, Sequence[tuple[bytes, bytes]]], timeout: float) -> None:
        """Write keys and values, by partition; when it returns, all are acknowledged. Raises BrokerUnavailable also
        when that takes longer than `timeout` seconds: aiokafka's idempotent producer would try for ever.
        """
        async with self._connected(topic) as client:
            writes = asyncio.gather(*(_write_batches(client, topic, number, some) for number, some in records.items()))
            try:
                await asyncio.wait_for(writes, timeout)
            except TimeoutError:
                raise KafkaTimeoutError from None

    @asynccontextmanager
    async def sender(self, topic: str) -> AsyncIterator["Sender"]:
        """Writes many records to a topic; all are acknowledged at the end, unless the block raises."""
        async with self._connected(topic) as client:
            sender = Sender(client, topic, self._options)
        yield sender
        await sender.flush()

    @asynccontextmanager
    async def _connected(self, topic: str | None = None) -> AsyncIterator[AIOKafkaProducer]:
        if topic is not None and topic not in self._topics:
            await self._cluster.partitions(topic)
            self._topics.add(topic)
        async with broker_errors(self._options):
            async with self._connecting:
                if self._client is None:
                    client = AIOKafkaProducer(
                        **self._options,
                        acks="all",
                        enable_idempotence=True,
                        max_batch_size=_BATCH_BYTES,
                        max_request_size=4 * _BATCH_BYTES,
                        compression_type=self._compression,
                    )
                    try:
                        await client.start()
                    except BaseException:
                        await client.stop()
                        raise
                    self._client = client
            yield self._client


class Sender:
    """Writes to the partitions of a topic in batches, as Kafka's own `send` does not take a record without key and
    value; see `Producer.sender`."""

    def __init__(self, client: AIOKafkaProducer, topic: str, options: Mapping[str, Any]) -> None:
        self._client = client
        self._topic = topic
        self._options = options
        self._batches: dict[int, Any] = {}
        #: Offset after the last record that this sender wrote to each partition; complete after `flush`.
        self.reached: dict[int, int] = {}

    async def send(self, partition: int, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Add a record; a full batch is sent and acknowledged first."""
        record = {"timestamp": int(time.time() * 1000), "key": key, "value": value, "headers": list(headers)}
        batch = self._batches.get(partition)
        if batch is None or batch.append(**record) is None:
            await self._flush(partition)
            batch = self._batches[partition] = self._client.create_batch()
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
        async with broker_errors(self._options):
            written = await (await self._client.send_batch(batch, self._topic, partition=partition))
        self.reached[partition] = written.offset + batch.record_count()


class PlainProducer:
    """Writes single records to a topic: each is acknowledged by every in-sync replica, or given up after `timeout`
    seconds.

    Not idempotent on purpose: an idempotent one of aiokafka would try for ever. What is given up may be written.
    """

    def __init__(self, options: Mapping[str, Any], topic: str, timeout: float) -> None:
        self._options = options
        self._topic = topic
        self._client = AIOKafkaProducer(
            **options,
            acks="all",
            request_timeout_ms=int(timeout * 1000),
            retry_backoff_ms=100,
            linger_ms=_LINGER_MS,
            max_batch_size=_SMALL_BATCH_BYTES,
            max_request_size=_LARGEST_REQUEST,
        )

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailable, AccessDenied."""
        async with broker_errors(self._options):
            try:
                await self._client.start()
                await self._client.partitions_for(self._topic)
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        """Disconnect. Nothing that was acknowledged waits any more."""
        await _stop(self._client)

    @property
    def partitions(self) -> int:
        """How many partitions the topic has, as of the last five minutes; 0 where that is not known."""
        return len(self._client.client.cluster.partitions_for_topic(self._topic) or ())

    async def write(self, partition: int, key: bytes | None, value: bytes) -> bool:
        """Whether a record is written: the topic may not take one of its size. Raises errors of aiokafka."""
        try:
            await (await self._client.send(self._topic, value, key=key, partition=partition))
        except MessageSizeTooLargeError:
            return False
        return True


async def _stop(client: AIOKafkaProducer) -> None:
    """Stop within a bound: without brokers aiokafka would wait until they are back, for what is not acknowledged."""
    try:
        await asyncio.wait_for(client.stop(), _STOP_SECONDS)
    except (TimeoutError, KafkaError):
        await client.client.close()


async def _write_batches(
    client: AIOKafkaProducer, topic: str, partition: int, records: Sequence[tuple[bytes, bytes]]
) -> None:
    written = []
    stamp = int(time.time() * 1000)
    batch = client.create_batch()
    for key, value in records:
        if batch.append(timestamp=stamp, key=key, value=value) is None:
            written.append(await client.send_batch(batch, topic, partition=partition))
            batch = client.create_batch()
            batch.append(timestamp=stamp, key=key, value=value)
    batch.close()
    written.append(await client.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*written)
