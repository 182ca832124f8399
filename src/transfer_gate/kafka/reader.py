"""Read topics as a `read_committed` consumer sees them: up to offsets that were fixed beforehand, by offset, or on and
on as they grow.

Reads that follow each other share a consumer, so one connection to each broker serves a whole command.
"""

import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from transfer_gate.errors import BrokerUnavailable
from transfer_gate.kafka.access import broker_errors
from transfer_gate.kafka.bulk import BulkConsumer
from transfer_gate.kafka.clients import stop_consumer
from transfer_gate.settings import Settings

#: Kafka looks for timed-out transactions every 10 s; with room for a slow broker, seconds.
_ABORT_SECONDS: Final = 30.0
_POLL_MS: Final = 250
_BATCH: Final = 5000
_FETCH_BYTES: Final = 4 << 20
#: Where records are picked by offset, most of what a fetch brings along is not wanted.
_PICK_BYTES: Final = 1 << 20
#: Offsets between two wanted records above which it is quicker to fetch anew than to read what is between.
_GAP: Final = 3000

Offsets = Mapping[TopicPartition, int]
Isolation = Literal["read_committed", "read_uncommitted"]


class Picked(NamedTuple):
    """Wanted records of one partition in the order of their offsets, and wanted offsets at which there is none: never
    was, aborted, deleted, or not yet written."""

    place: TopicPartition
    records: list[ConsumerRecord]
    missing: list[int]


class Reader:
    """The consumers of a session. Each read has one for itself, and leaves it to the next.

    Everything here raises BrokerUnavailable when the cluster can't be reached, AccessDenied when it refuses.
    """

    def __init__(self, settings: Settings, options: Mapping[str, Any]) -> None:
        self._options = options
        self._rack = settings.client_rack
        self._timeout = settings.transaction_timeout_seconds + _ABORT_SECONDS
        self._idle: dict[tuple[Isolation, int], list[AIOKafkaConsumer]] = {}
        self._started: list[AIOKafkaConsumer] = []

    async def close(self) -> None:
        """Disconnect; reads that go on end."""
        while self._started:
            await stop_consumer(self._started.pop())
        self._idle.clear()

    async def bounds(self, partitions: Mapping[str, int], *, committed_only: bool) -> tuple[Offsets, Offsets]:
        """First and end offset of every partition of the topics in `partitions` (name to count), which must exist.

        `committed_only`: the end is where the first open transaction begins (last stable offset), else the high
        watermark.
        """
        places = [TopicPartition(topic, number) for topic, count in partitions.items() for number in range(count)]
        if not places:
            return {}, {}
        isolation: Isolation = "read_committed" if committed_only else "read_uncommitted"
        async with broker_errors(self._options), self._consumer(isolation) as consumer:
            return await consumer.beginning_offsets(places), await consumer.end_offsets(places)

    async def offsets_at(self, places: Iterable[TopicPartition], at_ms: int) -> dict[TopicPartition, int]:
        """First offset of each partition whose record is not older than `at_ms` (ms since the epoch); a partition
        without one is left out. Brokers answer from their time index: nothing is read."""
        wanted = dict.fromkeys(places, at_ms)
        if not wanted:
            return {}
        async with broker_errors(self._options), self._consumer() as consumer:
            found = await consumer.offsets_for_times(wanted)
        return {place: answer.offset for place, answer in found.items() if answer is not None}

    async def records(self, ends: Offsets, starts: Offsets | None = None) -> AsyncGenerator[list[ConsumerRecord], None]:
        """Committed records from `starts`, or the beginning of each partition, to its end offset (exclusive), in lists
        of one partition.

        Waits for transactions that are open below an end offset; aborted records never show up. Raises
        BrokerUnavailable when such a transaction outlives its timeout, or the broker stops answering.
        """
        if not ends:
            return
        starts = starts or {}
        async with broker_errors(self._options), self._consumer() as consumer:
            consumer.assign(list(ends))
            if unset := [place for place in ends if place not in starts]:
                await consumer.seek_to_beginning(*unset)
            for place in ends.keys() & starts.keys():
                consumer.seek(place, starts[place])
            waiting, stall = dict(ends), self._stall()
            moved = await _drop_finished(consumer, waiting)
            while waiting:
                fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)
                for place, records in fetched.items():
                    within = [record for record in records if record.offset < ends[place]]
                    if within:
                        yield within
                moved = await _drop_finished(consumer, waiting)
                stall.check(moved or bool(fetched), waiting)

    async def pick(
        self, wanted: Mapping[TopicPartition, Iterable[int]], most: int = 500
    ) -> AsyncGenerator[Picked, None]:
        """The committed records at some offsets, in lists of up to `most` of one partition; partitions take turns.

        Raises BrokerUnavailable as `records` does.
        """
        left = {place: deque(sorted(offsets)) for place, offsets in wanted.items()}
        left = {place: offsets for place, offsets in left.items() if offsets}
        if not left:
            return
        async with broker_errors(self._options), self._consumer(fetch_bytes=_PICK_BYTES) as consumer:
            begins, ends = await consumer.beginning_offsets(list(left)), await consumer.end_offsets(list(left))
            for place, offsets in left.items():
                outside = _outside(offsets, begins[place], ends[place])
                if outside:
                    yield Picked(place, [], outside)
            left = {place: offsets for place, offsets in left.items() if offsets}
            consumer.assign(list(left))
            for place, offsets in left.items():
                consumer.seek(place, offsets[0])
            stall = self._stall()
            while left:
                fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=most)
                stall.check(bool(fetched), left)
                for place, offsets in list(left.items()):
                    position = await consumer.position(place)
                    picked = _picked(place, offsets, fetched.get(place, []), position)
                    if picked.records or picked.missing:
                        yield picked
                    if not offsets:
                        consumer.pause(place)
                        del left[place]
                    elif offsets[0] > position + _GAP:
                        consumer.seek(place, offsets[0])

    async def exists(self, topic: str) -> bool:
        """Whether there is such a topic, as far as this client may see."""
        async with broker_errors(self._options), self._consumer() as consumer:
            return topic in await consumer.topics()

    async def record_at(self, place: TopicPartition, offset: int) -> ConsumerRecord | None:
        """The committed record at an offset; None when there is none."""
        found = None
        async for picked in self.pick({place: [offset]}, most=1):
            found = picked.records[0] if picked.records else None
        return found

    @asynccontextmanager
    async def follow(self, partitions: Mapping[str, int], *, from_end: bool = False) -> AsyncIterator["Follower"]:
        """A reader of every partition of some topics (name to count) from their beginning, or from what is written from
        now on."""
        places = [TopicPartition(topic, number) for topic, count in partitions.items() for number in range(count)]
        async with self._consumer() as consumer:
            async with broker_errors(self._options):
                consumer.assign(places)
                await (consumer.seek_to_end if from_end else consumer.seek_to_beginning)(*places)
            yield Follower(consumer, places, self._options)

    async def newest_timestamp(self, topic: str, partitions: int) -> int | None:
        """The greatest timestamp among the last committed records of a topic, ms since the epoch; None if there is
        none."""
        begins, ends = await self.bounds({topic: partitions}, committed_only=True)
        ends = {place: end for place, end in ends.items() if begins[place] < end}
        # The last offset is a transaction's marker as a rule; a few more catch the record before it.
        starts = {place: max(begins[place], end - 10) for place, end in ends.items()}
        newest = None
        async for records in self.records(ends, starts):
            newest = max(newest or 0, *(record.timestamp for record in records))
        return newest

    def _stall(self) -> "_Stall":
        return _Stall(self._timeout)

    @asynccontextmanager
    async def _consumer(
        self, isolation: Isolation = "read_committed", fetch_bytes: int = _FETCH_BYTES
    ) -> AsyncIterator[AIOKafkaConsumer]:
        idle = self._idle.setdefault((isolation, fetch_bytes), [])
        consumer = idle.pop() if idle else await self._start(isolation, fetch_bytes)
        try:
            yield consumer
        finally:
            # So that it fetches nothing until the next read. Not by `unsubscribe`: right after an `assign`, which has
            # woken the fetcher of aiokafka 0.14, that ends the fetcher for good.
            consumer.assign([])
            idle.append(consumer)

    async def _start(self, isolation: Isolation, fetch_bytes: int) -> AIOKafkaConsumer:
        consumer = BulkConsumer(
            self._rack,
            **self._options,
            auto_offset_reset="earliest",
            isolation_level=isolation,
            max_partition_fetch_bytes=fetch_bytes,
            fetch_max_wait_ms=100,
        )
        self._started.append(consumer)  # stopped also when it could not start: aiokafka warns of one that was not
        async with broker_errors(self._options):
            await consumer.start()
        return consumer


class Follower:
    """Reads topics on and on; see `Reader.follow`."""

    def __init__(
        self, consumer: AIOKafkaConsumer, places: Sequence[TopicPartition], options: Mapping[str, Any]
    ) -> None:
        self._consumer = consumer
        self._places = places
        self._options = options

    async def so_far(self) -> AsyncGenerator[list[ConsumerRecord], None]:
        """Everything that is committed by now, in lists of one partition. Raises BrokerUnavailable."""
        async with broker_errors(self._options):
            waiting = await self._consumer.end_offsets(self._places)
            await _drop_finished(self._consumer, waiting, pause=False)
            while waiting:
                for records in (await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)).values():
                    yield records
                await _drop_finished(self._consumer, waiting, pause=False)

    async def more(self) -> list[ConsumerRecord]:
        """What came meanwhile; empty after a moment without anything. Raises BrokerUnavailable."""
        async with broker_errors(self._options):
            fetched = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)
        return [record for records in fetched.values() for record in records]


class _Stall:
    """Notices that nothing comes any more, although the end is not reached."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout

    def check(self, moved: bool, waiting: Iterable[TopicPartition]) -> None:
        """Raise BrokerUnavailable when nothing moved for the time that the longest transaction may take."""
        if moved:
            self._deadline = time.monotonic() + self._timeout
        elif time.monotonic() > self._deadline:
            places = ", ".join(f"{place.topic}/{place.partition}" for place in sorted(waiting))
            raise BrokerUnavailable(
                f"nothing more to read for {self._timeout:.0f} s, yet the end is not reached: {places}",
                do="a transaction hangs there, or the broker is gone: see kafka-transactions.sh find-hanging",
            )


async def _drop_finished(consumer: AIOKafkaConsumer, waiting: dict[TopicPartition, int], *, pause: bool = True) -> bool:
    finished = [place for place, end in waiting.items() if await consumer.position(place) >= end]
    for place in finished:
        if pause:
            consumer.pause(place)
        del waiting[place]
    return bool(finished)


def _outside(offsets: deque[int], begin: int, end: int) -> list[int]:
    """Take away the offsets that lie outside of the partition."""
    outside = []
    while offsets and offsets[0] < begin:
        outside.append(offsets.popleft())
    while offsets and offsets[-1] >= end:
        outside.append(offsets.pop())
    return outside


def _picked(place: TopicPartition, offsets: deque[int], records: Sequence[ConsumerRecord], position: int) -> Picked:
    """Take away the offsets that are settled by what was fetched up to `position`."""
    found: list[ConsumerRecord] = []
    missing: list[int] = []
    for record in records:
        while offsets and offsets[0] < record.offset:
            missing.append(offsets.popleft())
        if offsets and offsets[0] == record.offset:
            offsets.popleft()
            found.append(record)
    while offsets and offsets[0] < position:
        missing.append(offsets.popleft())
    return Picked(place, found, missing)
