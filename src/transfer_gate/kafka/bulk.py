"""Consumers of what is read in bulk: from a replica in their own rack, where the brokers offer one (KIP-392).

Only records come from there. Where a log begins and ends is asked of its leader, so a reader that reads up to an end
waits until the replica has it.
"""

from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import NotLeaderForPartitionError, OffsetOutOfRangeError
from aiokafka.protocol.fetch import FetchRequest

from transfer_gate.kafka.unpacking import Withheld

#: After this the leader is asked anew which replica to read from, seconds. One that is cut off from its leader answers,
#: and has nothing new; the leader names it until it is out of sync (`replica.lag.time.max.ms`, 30 s). Both together are
#: less than the readers wait for records (`transaction_timeout_seconds` and 30 s).
_REPLICA_SECONDS: Final = 10.0


class BulkConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka has no types
    """A consumer without a group. `rack` as in `broker.rack`; None for leaders only."""

    def __init__(self, rack: str | None, **options: Any) -> None:
        if rack is not None:
            options["metadata_max_age_ms"] = int(_REPLICA_SECONDS * 1000)
        super().__init__(client_rack=rack, group_id=None, enable_auto_commit=False, **options)
        self._asked_leaders = rack is None
        if rack is not None:
            self._ask = self._client.send
            self._client.send = self._ask_near

    async def getmany(self, *places: TopicPartition, **how: Any) -> dict[TopicPartition, list[ConsumerRecord]]:
        """As aiokafka's; but bytes of a replica that can't be had are read again, from the leader: every broker has a
        disk of its own.
        """
        found: dict[TopicPartition, list[ConsumerRecord]] = await super().getmany(*places, **how)
        if self._asked_leaders or not any(_can_not_be_had(records) for records in found.values()):
            return found
        self._asked_leaders = True
        fetcher: Any = self._fetcher
        fetcher._client_rack = None
        fetcher._preferred_read_replica.clear()
        for place, records in found.items():
            self.seek(place, records[0].offset)
        return {}

    async def _ask_near(self, node: int, request: Any, **how: Any) -> Any:
        response = await self._ask(node, request, **how)
        if isinstance(request, FetchRequest):
            response.topics = leaders_decide(response.topics, node, self._client.cluster.leader_for_partition)
        return response


def leaders_decide(topics: Any, node: int, leader_of: Any) -> list[Any]:
    """What a fetch brought from `node`, without "out of range" of a replica that is no leader: it may be behind its
    leader, or have deleted before it. aiokafka would begin at the earliest offset; after NOT_LEADER_OR_FOLLOWER instead
    it goes to the leader, as Kafka's own client does (KAFKA-8365).
    """
    return [
        (
            topic,
            [
                (number, NotLeaderForPartitionError.errno, *rest)
                if code == OffsetOutOfRangeError.errno and leader_of(TopicPartition(topic, number)) != node
                else (number, code, *rest)
                for number, code, *rest in partitions
            ],
        )
        for topic, partitions in topics
    ]


def _can_not_be_had(records: list[ConsumerRecord]) -> bool:
    return any(type(record) is Withheld and record.why == "undecodable" for record in records)
