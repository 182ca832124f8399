"""Transactions that a log holds for open although they have ended: consumers stand before them for ever.

The coordinator does not know of them any more: DescribeTransactions (KIP-664) names no topic of a transaction that has
ended. DescribeProducers does, but takes the right to read, which a worker does not have for its outputs. So the last
stable offset of a log, which stands still in front of its oldest open transaction (KIP-98), is compared with its end.
"""

import asyncio
import time
from collections.abc import Collection
from typing import Any, Final

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

Place = tuple[str, int]
"""Topic and partition."""

#: A last stable offset that stands still for so long in front of the end of a log hangs, seconds: other owners write to
#: the topic of strays, and the end of a new leader is known a moment later.
HANGING_SECONDS: Final = 1.0
_WAIT_SECONDS: Final = 0.1
_LATEST: Final = -1
_READ_UNCOMMITTED: Final = 0
_READ_COMMITTED: Final = 1


class NoAnswer(Exception):
    """Some leader did not answer in time where its log ends."""


async def hanging(client: AIOKafkaClient, places: Collection[Place], deadline: float) -> frozenset[Place]:
    """Those of `places` in which a transaction stays open. Places that we may not describe are left out.

    `client` must know the leaders of their topics; `deadline` is one of `time.monotonic`. Raises NoAnswer.
    """
    began = time.monotonic()
    unmoved = await _open_at(client, places, deadline)
    while unmoved and time.monotonic() - began < HANGING_SECONDS:
        await asyncio.sleep(_WAIT_SECONDS)
        now = await _open_at(client, set(unmoved), deadline)
        unmoved = {place: offset for place, offset in unmoved.items() if now.get(place) == offset}
    return frozenset(unmoved)


async def _open_at(client: AIOKafkaClient, places: Collection[Place], deadline: float) -> dict[Place, int]:
    """Offset of the oldest open transaction of each log that has one."""
    ends = await _ends(client, places, _READ_UNCOMMITTED, deadline)
    stable = await _ends(client, ends, _READ_COMMITTED, deadline)  # asked later: what comes in between is not open
    return {place: stable[place] for place, end in ends.items() if stable.get(place, end) < end}


async def _ends(client: AIOKafkaClient, places: Collection[Place], isolation: int, deadline: float) -> dict[Place, int]:
    found: dict[Place, int] = {}
    left = set(places)
    while True:
        by_leader: dict[int, dict[str, list[tuple[int, int]]]] = {}
        for topic, number in left:
            leader = client.cluster.leader_for_partition(TopicPartition(topic, number))
            if leader is not None and leader != -1:
                by_leader.setdefault(leader, {}).setdefault(topic, []).append((number, _LATEST))
        requests = (_sent(client, leader, isolation, topics) for leader, topics in by_leader.items())
        for answer in await asyncio.gather(*requests):
            for topic, partitions in answer:
                for number, code, _, end in partitions:
                    if code == 0:
                        found[topic, number] = end
                    if code in (0, kafka.TopicAuthorizationFailedError.errno):
                        left.discard((topic, number))
        if not left:
            return found
        if time.monotonic() + _WAIT_SECONDS > deadline:
            raise NoAnswer
        client.force_metadata_update()
        await asyncio.sleep(_WAIT_SECONDS)


async def _sent(client: AIOKafkaClient, leader: int, isolation: int, topics: dict[str, list[tuple[int, int]]]) -> Any:
    try:
        return (await client.send(leader, OffsetRequest(-1, isolation, list(topics.items())))).topics
    except kafka.KafkaError:
        return ()
