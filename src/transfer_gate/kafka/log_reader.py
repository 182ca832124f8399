"""Read logs in bulk, by position: all that a table lacks, up to where its log ends now.

The last offset of a log that is written in transactions is a marker, which never comes as a record. A position moves
past it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from transfer_gate.kafka.bulk import BulkConsumer
from transfer_gate.kafka.clients import connected

#: Fetched of each partition for a look whether there is anything, bytes.
_LOOK_BYTES: Final = 64 << 10
_POLL_MS: Final = 50
_BATCH: Final = 20_000

Offsets = Mapping[TopicPartition, int]


class LogReader:
    """A `read_committed` consumer of whole logs; see `open_log_reader`. Everything here raises errors of aiokafka."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def bounds(self, places: Collection[TopicPartition]) -> tuple[Offsets, Offsets]:
        """First and end offset of each partition."""
        wanted = list(places)
        return await self._consumer.beginning_offsets(wanted), await self._consumer.end_offsets(wanted)

    async def inside_batches(self, offsets: Offsets) -> set[TopicPartition]:
        """Partitions in which the given offset, which lies before the end, stands inside a batch."""
        if not offsets:
            return set()
        self._turn_to(offsets)
        left, found = set(offsets), set()
        while left:
            await self._consumer.getmany(*left, timeout_ms=_POLL_MS, max_records=1)
            for place in {place for place in left if await self._consumer.position(place) > offsets[place]}:
                # aiokafka has no public place for what `kafka.unpacking` finds in a fetch.
                if getattr(self._consumer._subscription.subscription.assignment.state_value(place), "inside", False):
                    found.add(place)
                left.discard(place)
                self._consumer.pause(place)
        return found

    async def read(
        self, starts: Offsets, ends: Offsets
    ) -> AsyncGenerator[tuple[TopicPartition, list[ConsumerRecord], int], None]:
        """Records from `starts` up to `ends`, in lists of one partition, each with the position behind it. A list
        may be empty, where only markers and aborted records were passed.
        """
        if not starts:
            return
        self._turn_to(starts)
        positions = dict(starts)
        while positions:
            fetched = await self._consumer.getmany(*positions, timeout_ms=_POLL_MS, max_records=_BATCH)
            for place, before in list(positions.items()):
                records, position = fetched.get(place, []), await self._consumer.position(place)
                if records or position > before:
                    yield place, records, position
                positions[place] = position
                if position >= ends[place]:
                    del positions[place]
                    self._consumer.pause(place)
            await asyncio.sleep(0)  # heartbeats and health checks share this loop

    def _turn_to(self, starts: Offsets) -> None:
        self._consumer.assign(list(starts))
        for place, offset in starts.items():
            self._consumer.seek(place, offset)


@asynccontextmanager
async def open_log_reader(
    options: Mapping[str, Any], fetch_bytes: int, rack: str | None = None
) -> AsyncIterator[LogReader]:
    """A reader of logs; `fetch_bytes`: what one fetch may bring of one partition; `rack`: see `kafka.bulk`."""
    consumer = BulkConsumer(
        rack,
        **options,
        isolation_level="read_committed",
        auto_offset_reset="none",
        max_partition_fetch_bytes=fetch_bytes,
        fetch_max_wait_ms=100,
    )
    async with connected(consumer):
        yield LogReader(consumer)


async def ends_of(options: Mapping[str, Any], topic: str, numbers: Collection[int]) -> dict[int, int]:
    """Where the log of each partition ends now."""
    if not numbers:
        return {}
    async with connected(AIOKafkaConsumer(**options)) as reader:
        ends = await reader.end_offsets([TopicPartition(topic, number) for number in numbers])
    return {place.partition: end for place, end in ends.items()}


async def any_committed(options: Mapping[str, Any], topic: str, partitions: int) -> bool:
    """Whether a topic holds a committed record, up to its ends as of now. Raises errors of aiokafka."""
    async with open_log_reader(options, _LOOK_BYTES) as reader:
        begins, ends = await reader.bounds([TopicPartition(topic, number) for number in range(partitions)])
        starts = {place: begin for place, begin in begins.items() if begin < ends[place]}
        async for _, records, _ in reader.read(starts, ends):
            if records:
                return True
    return False
