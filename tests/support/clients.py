"""Kafka clients of the tests: producers that wait for every replica, and a reader of whole topics up to their end."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from transfer_gate.gate.inbox import Record
from transfer_gate.kafka import unpacking as _unpacking  # noqa: F401 - reads what plain aiokafka can't

#: Outlasts a broker's crash and restart, so that no record of a test is given up.
_REQUEST_MS: Final = 180_000


@asynccontextmanager
async def open_producer(bootstrap_servers: str, transactional_id: str | None = None) -> AsyncIterator[AIOKafkaProducer]:
    """An idempotent producer with `acks=all`: what it acknowledged stands in the log, once."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        transactional_id=transactional_id,
        linger_ms=0,
        max_batch_size=1 << 17,
        request_timeout_ms=_REQUEST_MS,
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def open_reader(
    bootstrap_servers: str, isolation_level: str = "read_committed"
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group, to be assigned by hand; starts at the first record."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=isolation_level,
        max_partition_fetch_bytes=4 << 20,
        fetch_max_wait_ms=100,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def set_offsets(bootstrap_servers: str, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    """As `kafka-consumer-groups --reset-offsets` does, for a group without members."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=group, enable_auto_commit=False)
    await consumer.start()
    consumer.assign(list(offsets))
    await consumer.commit(offsets)
    await consumer.stop()


def places_of(topics: Iterable[str], partitions: int) -> list[TopicPartition]:
    """Every partition of these topics."""
    return [TopicPartition(topic, number) for topic in topics for number in range(partitions)]


async def read_all(
    bootstrap_servers: str, topics: Iterable[str], partitions: int, isolation_level: str = "read_committed"
) -> AsyncIterator[Record]:
    """Every record up to the high watermark as of now, in order of each partition; waits for open transactions."""
    places = places_of(topics, partitions)
    async with open_reader(bootstrap_servers, "read_uncommitted") as reader:
        ends = await reader.end_offsets(places)
    waiting = {place: end for place, end in ends.items() if end > 0}
    if not waiting:
        return  # a consumer of aiokafka that is stopped before it ran a moment raises CancelledError
    async with open_reader(bootstrap_servers, isolation_level) as reader:
        reader.assign(list(waiting))
        while waiting:
            for place, records in (await reader.getmany(timeout_ms=200, max_records=5000)).items():
                for record in records:
                    if record.offset < ends[place]:
                        yield record
            for place in [place for place, end in waiting.items() if await reader.position(place) >= end]:
                reader.pause(place)
                del waiting[place]


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner (murmur2) gives a key."""
    numbers = list(range(partitions))
    return int(DefaultPartitioner()(key, numbers, numbers))
