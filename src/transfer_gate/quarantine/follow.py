"""Read a topic from its beginning and go on reading as it grows."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from transfer_gate.settings import Settings
from transfer_gate.stream.clients import client_options

_POLL_MS: Final = 250
_BATCH: Final = 2000


class Follower:
    """A `read_committed` reader of every partition of one topic."""

    def __init__(self, settings: Settings, topic: str, partitions: int) -> None:
        self._places = [TopicPartition(topic, number) for number in range(partitions)]
        self._consumer = AIOKafkaConsumer(
            **client_options(settings),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=100,
        )

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        try:
            self._consumer.assign(self._places)
            await self._consumer.seek_to_beginning(*self._places)
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def so_far(self) -> AsyncIterator[list[ConsumerRecord]]:
        """Everything that is committed by now, in lists of one partition."""
        ends = await self._consumer.end_offsets(self._places)
        waiting = {place for place in self._places if await self._consumer.position(place) < ends[place]}
        while waiting:
            for records in (await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)).values():
                yield records
            waiting = {place for place in waiting if await self._consumer.position(place) < ends[place]}

    async def more(self) -> list[ConsumerRecord]:
        """What came meanwhile; empty after a moment without anything."""
        fetched = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)
        return [record for records in fetched.values() for record in records]
