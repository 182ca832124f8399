"""Read whole topics as a `read_committed` consumer sees them, up to offsets that were fixed beforehand."""

import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from transfer_gate.errors import BrokerUnavailable
from transfer_gate.kafka.clients import broker_errors, client_options, connected
from transfer_gate.settings import Settings

#: Kafka looks for timed-out transactions every 10 s; with room for a slow broker, seconds.
_ABORT_SECONDS: Final = 30.0
_POLL_MS: Final = 250
_BATCH: Final = 5000

Offsets = Mapping[TopicPartition, int]


async def bounds(settings: Settings, partitions: Mapping[str, int], *, committed_only: bool) -> tuple[Offsets, Offsets]:
    """First and end offset of every partition of the topics in `partitions` (name to count), which must exist.

    `committed_only`: the end is where the first open transaction begins (last stable offset), else the high watermark.
    """
    places = [TopicPartition(topic, number) for topic, count in partitions.items() for number in range(count)]
    if not places:
        return {}, {}
    consumer = _consumer(settings, "read_committed" if committed_only else "read_uncommitted")
    async with connected(consumer):
        return await consumer.beginning_offsets(places), await consumer.end_offsets(places)


async def offsets_at(settings: Settings, places: Iterable[TopicPartition], at_ms: int) -> dict[TopicPartition, int]:
    """First offset of each partition whose record is not older than `at_ms` (ms since the epoch); a partition without
    one is left out. Brokers answer from their time index: nothing is read."""
    consumer = _consumer(settings, "read_committed")
    async with connected(consumer):
        found = await consumer.offsets_for_times(dict.fromkeys(places, at_ms))
    return {place: answer.offset for place, answer in found.items() if answer is not None}


async def committed_records(
    settings: Settings, ends: Offsets, starts: Offsets | None = None
) -> AsyncGenerator[list[ConsumerRecord], None]:
    """Committed records from `starts`, or the beginning of each partition, to its end offset (exclusive), in lists of
    one partition.

    Waits for transactions that are open below an end offset; aborted records never show up. Raises BrokerUnavailable
    when such a transaction outlives its timeout, or the broker stops answering.
    """
    if not ends:
        return  # a consumer of aiokafka that is stopped before it ran a moment raises CancelledError
    consumer = _consumer(settings, "read_committed")
    async with connected(consumer):
        consumer.assign(list(ends))
        await consumer.seek_to_beginning(*ends)
        for place, offset in (starts or {}).items():
            consumer.seek(place, offset)
        waiting = dict(ends)
        await _drop_finished(consumer, waiting)
        patience = settings.transaction_timeout_seconds + _ABORT_SECONDS
        deadline = time.monotonic() + patience
        while waiting:
            fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)
            for place, records in fetched.items():
                within = [record for record in records if record.offset < ends[place]]
                if within:
                    yield within
            if await _drop_finished(consumer, waiting) or fetched:
                deadline = time.monotonic() + patience
            elif time.monotonic() > deadline:
                places = ", ".join(f"{place.topic}/{place.partition}" for place in sorted(waiting))
                raise BrokerUnavailable(
                    f"nothing more to read for {patience:.0f} s, yet the end is not reached: {places}",
                    do="a transaction hangs there, or the broker is gone: see kafka-transactions.sh find-hanging",
                )


async def new_records(
    settings: Settings, topic: str, partitions: int, *, from_beginning: bool = False
) -> AsyncGenerator[ConsumerRecord, None]:
    """Committed records as they come, without end: those that are written from now on, or all.

    Order holds within a partition. Raises BrokerUnavailable.
    """
    places = [TopicPartition(topic, number) for number in range(partitions)]
    consumer = _consumer(settings, "read_committed")
    async with broker_errors(settings), connected(consumer):
        consumer.assign(places)
        await (consumer.seek_to_beginning if from_beginning else consumer.seek_to_end)(*places)
        while True:
            for records in (await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)).values():
                for record in records:
                    yield record


async def _drop_finished(consumer: AIOKafkaConsumer, waiting: dict[TopicPartition, int]) -> bool:
    finished = [place for place, end in waiting.items() if await consumer.position(place) >= end]
    for place in finished:
        consumer.pause(place)
        del waiting[place]
    return bool(finished)


def _consumer(settings: Settings, isolation: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        **client_options(settings),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=isolation,
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )


async def newest_timestamp(settings: Settings, topic: str, partitions: int) -> int | None:
    """The greatest timestamp among the last committed records of a topic, ms since the epoch; None if there is none."""
    begins, ends = await bounds(settings, {topic: partitions}, committed_only=True)
    places = [place for place in ends if ends[place] > begins[place]]
    if not places:
        return None
    consumer = _consumer(settings, "read_committed")
    async with connected(consumer):
        consumer.assign(places)
        for place in places:
            # The last offset is a transaction's marker as a rule; a few more catch the record before it.
            consumer.seek(place, max(begins[place], ends[place] - 10))
        newest = None
        waiting = {place: ends[place] for place in places}
        deadline = time.monotonic() + 5
        while waiting and time.monotonic() < deadline:
            for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                newest = max(newest or 0, *(record.timestamp for record in records))
            await _drop_finished(consumer, waiting)
        return newest
