"""Produce requests: which batches go together, their bytes joined once, and how they are sent until the brokers have
taken each exactly once.

aiokafka joins at every level of a request, so that each record batch is copied six times before it is sent; a round
sends megabytes.
"""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from aiokafka import errors as kafka
from aiokafka.protocol.produce import ProduceRequest as AiokafkaProduceRequest
from aiokafka.protocol.types import Array, Bytes, Int32, Schema
from aiokafka.structs import TopicPartition
from msgspec import Struct

from transfer_gate.kafka.batches import Batches
from transfer_gate.kafka.coordinator import DISCONNECTED, FIRST_WAIT, CoordinatorClient, RetryLater

Place = tuple[str, int]
"""Topic and partition."""

#: Brokers remember the last five batches of a producer, so that many may be repeated (KIP-98).
MOST_IN_FLIGHT: Final = 5
#: Most bytes of record batches in one produce request, unless a single batch is larger. A round with a hundred partners
#: would otherwise pass the broker's `socket.request.max.bytes` (100 MiB), which closes the connection.
REQUEST_BYTES: Final = 8 << 20


class Chunk(Struct, frozen=True):
    """One record batch on its way."""

    topic: str
    partition: int
    data: bytes | bytearray
    count: int


class Written(NamedTuple):
    """From the first offset of what a transaction wrote to a log to after the last."""

    begin: int
    end: int

    def joined(self, begin: int, end: int) -> "Written":
        """The same with what stands from `begin` to before `end`."""
        return Written(min(self.begin, begin), max(self.end, end))


def requests_of(chunks: Sequence[Sequence[Chunk]]) -> list[list[Chunk]]:
    """Pack the batches of each topic into produce requests of about REQUEST_BYTES, at most one batch of a topic in
    each, because a broker takes them in any order; the batches of one topic stay in order across requests.
    """
    requests: list[list[Chunk]] = []
    for level in itertools.zip_longest(*chunks):
        size = REQUEST_BYTES
        for chunk in level:
            if chunk is None:
                continue
            if size + len(chunk.data) > REQUEST_BYTES:
                requests.append([])
                size = 0
            requests[-1].append(chunk)
            size += len(chunk.data)
    return requests


class BatchProducer(CoordinatorClient):
    """An idempotent producer (KIP-98): batches keep their sequence numbers however often they are sent."""

    def __init__(self, options: Mapping[str, Any], transactional_id: str, group_id: str, timeout: float) -> None:
        """`timeout`: how long one transaction may take, seconds."""
        super().__init__(options, transactional_id, group_id)
        self._timeout = timeout
        self._producer_id = -1
        self._epoch = -1
        self._sequences: dict[Place, int] = {}
        self._written: dict[Place, Written] = {}

    def _begin_epoch(self, producer_id: int, epoch: int) -> None:
        """Be the producer that InitProducerId made: sequence numbers begin again."""
        self._producer_id, self._epoch = producer_id, epoch
        self._sequences.clear()

    async def _produce(self, batches: Batches) -> Mapping[Place, Written]:
        """Send all batches, those of one topic in order; returns where they stand. Raises what `_raise_for` raises."""
        self._written.clear()
        requests = requests_of(self._chunks(batches))
        for start in range(0, len(requests), MOST_IN_FLIGHT):
            window = requests[start : start + MOST_IN_FLIGHT]
            left = await asyncio.gather(*(self._produce_once(chunks) for chunks in window))
            for failed in left:  # whatever failed is repeated one by one, so that sequences stay in order
                chunks, wait = failed, FIRST_WAIT
                while chunks:
                    wait = await self._pause(wait)
                    chunks = await self._produce_once(chunks)
        return dict(self._written)

    def _chunks(self, batches: Batches) -> list[list[Chunk]]:
        """The batches of every topic in order, with the sequence numbers that they keep however often they are sent."""
        chunks: list[list[Chunk]] = []
        for topic, built in batches.close().items():
            of_topic: list[Chunk] = []
            for builder, count in built:
                place = (topic, batches.partition)
                sequence = self._sequences.get(place, 0)
                builder.set_producer_state(self._producer_id, self._epoch, sequence)
                self._sequences[place] = (sequence + count) & 0x7FFFFFFF
                of_topic.append(Chunk(topic, batches.partition, builder.build(), count))
            chunks.append(of_topic)
        return chunks

    async def _produce_once(self, chunks: list[Chunk]) -> list[Chunk]:
        """One try, one request per leader; returns what is left to send."""
        by_leader: dict[int, list[Chunk]] = {}
        left: list[Chunk] = []
        for chunk in chunks:
            leader = self._client.cluster.leader_for_partition(TopicPartition(chunk.topic, chunk.partition))
            if leader is None or leader == -1:
                left.append(chunk)
            else:
                by_leader.setdefault(leader, []).append(chunk)
        for rest in await asyncio.gather(*(self._produce_to(node, part) for node, part in by_leader.items())):
            left += rest
        if left:
            self._client.force_metadata_update()
        return left

    async def _produce_to(self, leader: int, chunks: list[Chunk]) -> list[Chunk]:
        request = ProduceRequest(
            transactional_id=self._transactional_id,
            required_acks=-1,
            timeout=int(self._timeout * 1000),
            topics=[(chunk.topic, [(chunk.partition, chunk.data)]) for chunk in chunks],
        )
        try:
            response = await self._client.send(leader, request)
        except DISCONNECTED:
            return chunks
        sent = {chunk.topic: chunk for chunk in chunks}
        left: list[Chunk] = []
        for topic, partitions in response.topics:
            for number, code, base_offset, *_ in partitions:
                if code == kafka.DuplicateSequenceNumber.errno:
                    continue  # an earlier try arrived after all, at an offset that is not known any more
                if code == kafka.OutOfOrderSequenceNumber.errno:
                    # A request before this one got lost with its connection. What is left is sent again in order; if
                    # the broker really lost a batch, the deadline of the round ends it.
                    left.append(sent[topic])
                    continue
                try:
                    self._raise_for(code, topic)
                except RetryLater:
                    left.append(sent[topic])
                else:
                    self._written[topic, number] = self._written.get(
                        (topic, number), Written(base_offset, base_offset)
                    ).joined(base_offset, base_offset + sent[topic].count)
        return left


class ProduceRequest(AiokafkaProduceRequest):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's request, with the same bytes."""

    def build(self, request_struct_class: Any) -> Any:
        """The request in the version that the broker and aiokafka agreed on."""
        return super().build(_joined_once(request_struct_class))


@lru_cache(maxsize=16)
def _joined_once(version: Any) -> Any:
    def encode(request: Any) -> bytes:
        parts: list[bytes] = []
        _append(parts, version.SCHEMA, [request.get_item(name) for name in version.SCHEMA.names])
        return b"".join(parts)

    return type(version.__name__, (version,), {"encode": encode})


def _append(parts: list[bytes], kind: Any, value: Any) -> None:
    if isinstance(kind, Schema):
        for field, item in zip(kind.fields, value, strict=True):
            _append(parts, field, item)
    elif isinstance(kind, Array) and value is not None:
        parts.append(Int32.encode(len(value)))
        for item in value:
            _append(parts, kind.array_of, item)
    elif kind is Bytes and value is not None:
        parts += (Int32.encode(len(value)), value)
    else:
        parts.append(kind.encode(value))
