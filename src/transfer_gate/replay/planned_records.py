"""Read exactly the records that a plan froze, wherever they stand in quarantine, and notice which of them are gone."""

from collections import deque
from collections.abc import AsyncGenerator, Iterable
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from msgspec import Struct

from transfer_gate.kafka.clients import client_options, connected
from transfer_gate.replay.plan import Item, fingerprint_of
from transfer_gate.settings import Settings

#: Offsets between two wanted records above which it is quicker to ask for the second than to read what is between.
_GAP: Final = 3000
_POLL_MS: Final = 250
_FETCH_BYTES: Final = 1 << 20


class Reading(Struct, frozen=True):
    """Records of one partition in the order of their offsets, each with the number of its item; numbers of items that
    retention deleted, and of those whose record is another than the one that was planned."""

    records: list[tuple[int, ConsumerRecord]]
    gone: list[int]
    altered: list[int]


class FrozenRecords:
    """Reads items of a quarantine topic; committed records only, as when they were planned."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings = settings
        self._topic = topic

    async def read(self, wanted: Iterable[tuple[int, Item]], most: int = 500) -> AsyncGenerator[Reading, None]:
        """The records of items, given with their numbers, in lists of up to `most`; partitions take turns."""
        queues = self._queues(wanted)
        if not queues:
            return  # a consumer of aiokafka that is stopped before it ran a moment raises CancelledError
        consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=_FETCH_BYTES,
        )
        async with connected(consumer):
            for reading in await self._begin(consumer, queues):
                yield reading
            while queues:
                fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=most)
                for place, queue in list(queues.items()):
                    reading = _match(queue, fetched.get(place, []), await consumer.position(place))
                    if reading.records or reading.gone or reading.altered:
                        yield reading
                    if not queue:
                        consumer.pause(place)
                        del queues[place]
                    elif queue[0][1].offset > await consumer.position(place) + _GAP:
                        consumer.seek(place, queue[0][1].offset)

    def _queues(self, wanted: Iterable[tuple[int, Item]]) -> dict[TopicPartition, deque[tuple[int, Item]]]:
        by_place: dict[TopicPartition, list[tuple[int, Item]]] = {}
        for number, item in wanted:
            by_place.setdefault(TopicPartition(self._topic, item.partition), []).append((number, item))
        return {place: deque(sorted(items, key=lambda pair: pair[1].offset)) for place, items in by_place.items()}

    @staticmethod
    async def _begin(
        consumer: AIOKafkaConsumer, queues: dict[TopicPartition, deque[tuple[int, Item]]]
    ) -> list[Reading]:
        """Go to the first item of every partition; what lies outside of the partition is gone."""
        places = list(queues)
        readings: list[Reading] = []
        if not places:
            return readings
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        for place in places:
            queue, gone = queues[place], []
            while queue and queue[0][1].offset < begins[place]:
                gone.append(queue.popleft()[0])
            while queue and queue[-1][1].offset >= ends[place]:
                gone.append(queue.pop()[0])
            if gone:
                readings.append(Reading([], gone, []))
            if not queue:
                del queues[place]
        consumer.assign(list(queues))
        for place, queue in queues.items():
            consumer.seek(place, queue[0][1].offset)
        return readings


def _match(queue: deque[tuple[int, Item]], records: list[ConsumerRecord], position: int) -> Reading:
    """Take the wanted ones of the records that were fetched up to `position`."""
    found: list[tuple[int, ConsumerRecord]] = []
    gone: list[int] = []
    altered: list[int] = []
    for record in records:
        while queue and queue[0][1].offset < record.offset:
            gone.append(queue.popleft()[0])
        if queue and queue[0][1].offset == record.offset:
            number, item = queue.popleft()
            if fingerprint_of(record) == item.fingerprint:
                found.append((number, record))
            else:
                altered.append(number)
    while queue and queue[0][1].offset < position:
        gone.append(queue.popleft()[0])
    return Reading(found, gone, altered)
