"""Read a topic from its beginning and go on reading as it grows."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from transfer_gate.errors import InvalidInput
from transfer_gate.kafka.clients import client_options, keep_cancellation
from transfer_gate.kafka.cluster import open_cluster
from transfer_gate.settings import Settings

_POLL_MS: Final = 250
_BATCH: Final = 2000


async def replay_partitions(settings: Settings, *more: str) -> int:
    """How many partitions quarantine, replay and ledger share.

    Raises InvalidInput when one of them, the audit topic or one of `more` is missing: a reader of a topic that does not
    exist would wait, or create it. Raises BrokerUnavailable.
    """
    topics = settings.topics
    async with open_cluster(settings) as cluster:
        found = await cluster.topics()
    needed = (topics.quarantine, topics.replay, topics.ledger, topics.audit, *more)
    missing = [name for name in needed if name not in found]
    if missing:
        raise InvalidInput(f"missing topics: {', '.join(missing)}", do="run: transfer-gate topics apply")
    return found[topics.quarantine].partitions


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
        try:
            await self._consumer.start()
            self._consumer.assign(self._places)
            await self._consumer.seek_to_beginning(*self._places)
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with keep_cancellation():
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
