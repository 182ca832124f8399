"""The read barrier: up to where must consent be applied before a transfer of this partition may be decided?

The answer is the partition's *high watermark*: every event that the broker acknowledged to a producer with
`acks=all` lies below it, also one that stands behind the open transaction of a producer. The last stable offset, which
`read_committed` clients are given, stops in front of that transaction and would miss such an event. See
docs/explanation/architecture.md.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from transfer_gate.kafka.requests import TopicIds
from transfer_gate.observe.logs import summary

logger = logging.getLogger(__name__)

#: ListOffsets: the end and the beginning of the log; the end as `read_uncommitted` clients see it (KIP-98).
LATEST: Final = -1
EARLIEST: Final = -2
READ_UNCOMMITTED: Final = 0
LONGEST_WAIT: Final = 0.5
#: How long an idea of who leads may last without a look, seconds: a leader that was deposed and cut off answers with an
#: old watermark to clients that still ask it (docs/explanation/read-barrier.md).
METADATA_SECONDS: Final = 10
#: A broker that is silent for so long is asked again; the other partitions wait for it no longer than that.
ANSWER_SECONDS: Final = 5


def _no_refusal(_metadata: Any) -> None:
    """Of topics that are not watched."""


class _Refused(Exception):
    """No answer counts any more; `why` is for those who wait."""

    def __init__(self, why: Exception) -> None:
        super().__init__()
        self.why = why


class Watermarks:
    """High watermarks of some topics, on a connection that never long-polls; concurrent callers share one request.

    An answer counts for callers that came before its request was sent, never for later ones.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        topics: str | tuple[str, ...],
        watched: tuple[str, ...] = (),
        refusal: Callable[[Any], Exception | None] = _no_refusal,
    ) -> None:
        """`refusal` is given the leader's metadata of the `watched` topics behind every answer; what it returns is
        raised to callers that wait for that answer.
        """
        self._watched = watched
        self._refusal = refusal
        self._client = AIOKafkaClient(
            **{**options, "client_id": f"{options['client_id']}-barrier"},
            metadata_max_age_ms=METADATA_SECONDS * 1000,
            request_timeout_ms=ANSWER_SECONDS * 1000,
        )
        self._topics = (topics,) if isinstance(topics, str) else topics
        self._requesting: asyncio.Task[None] | None = None
        self._waiting: list[tuple[int, asyncio.Future[tuple[int, ...]]]] = []

    async def start(self) -> None:
        """Connect. Raises aiokafka's connection errors when no broker answers."""
        await self._client.bootstrap()
        await self._client.set_topics(self._topics)

    async def close(self) -> None:
        """Disconnect; callers that still wait are cancelled."""
        if self._requesting is not None:
            self._requesting.cancel()
        for _, answer in self._waiting:
            answer.cancel()
        await self._client.close()

    async def end(self, partition: int) -> int:
        """The high watermark of `partition` of the first topic; see `ends`."""
        return (await self.ends(partition))[0]

    async def ends(self, partition: int) -> tuple[int, ...]:
        """The high watermark of `partition` in each topic, requested after this call. Waits for as long as the broker
        has no answer.
        """
        answer: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        self._waiting.append((partition, answer))
        if self._requesting is None or self._requesting.done():
            self._requesting = asyncio.create_task(self._request())
        return await answer

    async def begin(self, partition: int) -> tuple[int, ...]:
        """First offset that `partition` of each topic still holds; waits for as long as the broker has no answer."""
        return (await self.all_begins({partition}))[partition]

    async def begins(self, partitions: set[int]) -> dict[int, int]:
        """First offset that each partition of the first topic still holds; see `all_begins`."""
        return {number: begins[0] for number, begins in (await self.all_begins(partitions)).items()}

    async def all_begins(self, partitions: set[int]) -> dict[int, tuple[int, ...]]:
        """First offset that each partition of each topic still holds; waits for as long as the broker has no answer."""
        begins: dict[int, tuple[int, ...]] = {}
        while missing := partitions - set(begins):
            begins |= await self._list_offsets(missing, EARLIEST)
            if len(begins) < len(partitions):
                self._client.force_metadata_update()
                await asyncio.sleep(LONGEST_WAIT)
        return begins

    async def _request(self) -> None:
        wait = 0.001
        while self._waiting:
            wanted, self._waiting = self._waiting, []
            began = time.monotonic()
            try:
                ends = await self._list_offsets({partition for partition, _ in wanted}, LATEST)
            except _Refused as refused:
                for _, answer in wanted:
                    if not answer.done():
                        answer.set_exception(refused.why)
                continue
            except Exception as error:  # noqa: BLE001 - callers would wait for ever, unnoticed
                logger.error(  # noqa: TRY400 - only the kind of the defect is logged
                    "high watermarks could not be requested: requesting again", extra={"error": summary(error)}
                )
                ends = {}
            for partition, answer in wanted:
                if answer.done():
                    continue
                if partition in ends:
                    answer.set_result(ends[partition])
                else:
                    self._waiting.append((partition, answer))
            if len(ends) < len({partition for partition, _ in wanted}):
                self._client.force_metadata_update()
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
            elif time.monotonic() - began < LONGEST_WAIT:
                wait = 0.001

    async def _list_offsets(self, partitions: set[int], which: int) -> dict[int, tuple[int, ...]]:
        """What the leaders answered, by topic; partitions without a usable answer for each topic are left out."""
        by_leader: dict[int, dict[str, list[tuple[int, int]]]] = {}
        for topic in self._topics:
            for partition in partitions:
                leader = self._client.cluster.leader_for_partition(TopicPartition(topic, partition))
                if leader is not None and leader != -1:
                    by_leader.setdefault(leader, {}).setdefault(topic, []).append((partition, which))
        answers = await asyncio.gather(*(self._request_from(leader, wanted) for leader, wanted in by_leader.items()))
        found = {place: end for answered in answers for place, end in answered.items()}
        return {
            partition: tuple(found[topic, partition] for topic in self._topics)
            for partition in partitions
            if all((topic, partition) in found for topic in self._topics)
        }

    async def _request_from(self, leader: int, wanted: dict[str, list[tuple[int, int]]]) -> dict[tuple[str, int], int]:
        requests = [self._client.send(leader, OffsetRequest(-1, READ_UNCOMMITTED, list(wanted.items())))]
        if self._watched and next(iter(wanted.values()))[0][1] == LATEST:
            # On the same connection, so that the broker looks after it has answered the first: a log that is still the
            # one that is known is the one whose end was given.
            requests.append(self._client.send(leader, TopicIds(self._watched)))
        try:
            response, *metadata = await asyncio.gather(*requests)
        except kafka.KafkaError:
            return {}
        for found in metadata:
            why = self._refusal(found)
            if why is not None:
                raise _Refused(why)
        return {
            (topic, partition): end
            for topic, answers in response.topics
            for partition, code, _, end in answers
            if code == 0 and end >= 0
        }
