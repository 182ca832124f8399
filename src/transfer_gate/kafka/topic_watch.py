"""Which topics stand behind their names: ids (KIP-516), partition counts, where the epochs of leaders end (KIP-320)."""

import asyncio
import contextlib
import time
from collections.abc import Collection, Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient
from msgspec import Struct

from transfer_gate.kafka.coordinator import RoundFailed
from transfer_gate.kafka.requests import OffsetForLeaderEpoch, TopicIds, topic_ids_of

#: Between two requests while the cluster gives no usable answer, seconds; and how long to go on.
_WAIT_SECONDS: Final = 0.2
_TIMEOUT_SECONDS: Final = 30.0
#: How long a leader may not know an epoch: one that was just elected, or just deposed, seconds.
_EPOCH_SECONDS: Final = 5.0


class TopicIdentity(Struct, frozen=True):
    """What stands behind a topic's name now."""

    topic_id: str
    partitions: int


Identities = Mapping[str, TopicIdentity]
"""By topic name."""


def identities_of(response: Any) -> dict[str, TopicIdentity]:
    """Read the response to a TopicIds request."""
    return {topic: TopicIdentity(*found) for topic, found in topic_ids_of(response).items()}


class TopicWatch:
    """Asks which topics stand behind their names, on a connection of its own."""

    def __init__(self, options: Mapping[str, Any], topics: tuple[str, ...]) -> None:
        self._client = AIOKafkaClient(**{**options, "client_id": f"{options['client_id']}-identity"})
        self._topics = topics

    async def start(self) -> None:
        """Connect. Raises aiokafka's connection errors when no broker answers."""
        await self._client.bootstrap()
        await self._client.set_topics(self._topics)

    async def close(self) -> None:
        """Disconnect."""
        await self._client.close()

    async def look(self) -> Identities:
        """Identities of all topics. Raises RoundFailed when the cluster does not give them in time."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while True:
            try:
                response = await self._client.send(self._client.get_random_node(), TopicIds(self._topics))
                found = identities_of(response)
            except (kafka.KafkaError, AssertionError):  # without a node aiokafka asserts
                found = {}
            if len(found) == len(self._topics):
                return found
            missing = sorted(set(self._topics) - set(found))
            if time.monotonic() > deadline:
                raise RoundFailed(f"the cluster does not know these topics: {', '.join(missing)}")
            self._client.force_metadata_update()
            await asyncio.sleep(_WAIT_SECONDS)

    async def others(self, prefixes: tuple[str, ...], known: Collection[str]) -> tuple[str, ...]:
        """Topics that begin with one of `prefixes` and are none of those that are `known`; only those that we may see.

        Raises RoundFailed when the cluster does not answer.
        """
        try:
            found = await self._client.fetch_all_metadata()
        except kafka.KafkaError as error:
            raise RoundFailed(f"the cluster does not list its topics: {type(error).__name__}") from None
        return tuple(sorted(topic for topic in found.topics() if topic.startswith(prefixes) and topic not in known))

    async def epoch_ends(self, wanted: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        """By topic and partition: the offset after the last record of the leader epoch that is asked for, or of an
        earlier one; -1 where the leader knows no epoch so late. Raises RoundFailed when there is no answer in time.
        """
        began = time.monotonic()
        found: dict[tuple[str, int], int] = {}
        while True:
            by_leader: dict[int, dict[str, dict[int, int]]] = {}
            for (topic, number), epoch in wanted.items():
                leader = self._client.cluster.leader_for_partition(TopicPartition(topic, number))
                if (topic, number) not in found and leader is not None and leader != -1:
                    by_leader.setdefault(leader, {}).setdefault(topic, {})[number] = epoch
            for leader, epochs in by_leader.items():
                with contextlib.suppress(kafka.KafkaError):
                    response = await self._client.send(leader, OffsetForLeaderEpoch(epochs))
                    found |= {
                        (topic, number): end
                        for topic, partitions in response.topics
                        for code, number, _, end in partitions
                        if code == 0 and (end >= 0 or time.monotonic() - began > _EPOCH_SECONDS)
                    }
            if len(found) == len(wanted):
                return found
            if time.monotonic() - began > _TIMEOUT_SECONDS:
                raise RoundFailed("the cluster does not answer where the epochs of leaders end")
            self._client.force_metadata_update()
            await asyncio.sleep(_WAIT_SECONDS)
