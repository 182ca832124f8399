"""One Kafka transaction per round (KIP-98), on one connection pair of its own.

aiokafka's producer takes five round trips in a row and sleeps 20 to 100 ms when the markers of the previous
transaction are still being written. Here the requests that don't depend on each other overlap, and the retry waits
are short:

1. AddPartitionsToTxn and AddOffsetsToTxn, pipelined on the coordinator's connection;
2. Produce;
3. TxnOffsetCommit; side by side with Produce it took just as long in all, measured on one broker;
4. EndTxn.

A retry resends the same bytes under the same sequence numbers, so it can't double a record (KIP-98, idempotence).
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, TypeVar

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)
from aiokafka.structs import TopicPartition
from msgspec import Struct

from transfer_gate.errors import GateError
from transfer_gate.stream.batches import Batches
from transfer_gate.stream.produce import ProduceRequest
from transfer_gate.stream.protocol import DescribeTransaction, GroupOffsets, StableOffsets
from transfer_gate.stream.refusal import DENIED, AccessDenied, access_denied, resource_of

logger = logging.getLogger(__name__)
_T = TypeVar("_T")

#: First and longest wait between tries of one request, seconds. Markers of a transaction take a few milliseconds.
FIRST_WAIT: Final = 0.001
LONGEST_WAIT: Final = 0.1
#: Brokers remember the last five batches of a producer, so that many may be repeated (KIP-98).
MOST_IN_FLIGHT: Final = 5
#: Most bytes of record batches in one produce request, unless a single batch is larger. A round with a hundred partners
#: would otherwise pass the broker's `socket.request.max.bytes` (100 MiB), which closes the connection.
REQUEST_BYTES: Final = 8 << 20

_FENCED: Final = (
    kafka.InvalidProducerEpoch,
    kafka.ProducerFenced,
    kafka.InvalidProducerIdMapping,
    kafka.TransactionCoordinatorFenced,
)
_COORDINATOR_MOVED: Final = (kafka.CoordinatorNotAvailableError, kafka.NotCoordinatorError)
_DISCONNECTED: Final = (kafka.NodeNotReadyError, kafka.RequestTimedOutError, kafka.KafkaConnectionError)


_REFUSED: Final = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)
#: Codes that aiokafka has no class for (Kafka protocol guide).
_INVALID_RECORD: Final = 87
_UNSTABLE_OFFSET_COMMIT: Final = 88
_PRODUCER_FENCED: Final = 90
_TRANSACTIONAL_ID_NOT_FOUND: Final = 105
_PASSING: Final = (kafka.ConcurrentTransactions, kafka.UnknownTopicOrPartitionError)

#: States of a transaction (KIP-664) that was ended, or is being ended, by a commit; and by an abort.
_COMMITTED: Final = ("PrepareCommit", "CompleteCommit")
_ABORTED: Final = ("Ongoing", "PrepareAbort", "CompleteAbort", "PrepareEpochFence")


class RoundFailed(Exception):
    """The transaction did not end in a known commit. The partition must be fenced and caught up before it goes on."""


class Fenced(RoundFailed):
    """Another worker owns the partition now, or the coordinator timed the transaction out (KIP-98 fencing)."""


class _RetryLater(Exception):
    """A refusal that passes by itself."""


class PartitionStops(GateError):
    """What keeps one partition from going on; the others of this worker and of the group decide on."""


class RecordRefused(PartitionStops):
    """The broker will never take a record of this round, for instance because it is too large for its topic."""


class ClockWrong(GateError):
    """The broker refuses the time that this machine's clock gives the records."""


class TransactionHangs(PartitionStops):
    """Offsets of the group are pending in a transaction that has ended, nobody knows how."""


class _Chunk(Struct, frozen=True):
    """One record batch on its way."""

    topic: str
    partition: int
    data: bytes | bytearray
    count: int


def requests_of(chunks: Sequence[Sequence[_Chunk]]) -> list[list[_Chunk]]:
    """Pack the batches of each topic into produce requests of about REQUEST_BYTES, at most one batch of a topic in
    each, because a broker takes them in any order; the batches of one topic stay in order across requests.
    """
    requests: list[list[_Chunk]] = []
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


class Committed(Struct, frozen=True):
    """What a group has committed of one input partition: the next offset, and what the round noted beside it."""

    offset: int
    note: str


class TransactionalWriter:
    """The transactional producer of one partition.

    `transactional_id` is the fence between owners: whoever called `fence` last may commit, nobody else.
    """

    def __init__(self, options: Mapping[str, Any], transactional_id: str, group_id: str, timeout: float) -> None:
        self._client = AIOKafkaClient(**{**options, "client_id": f"{transactional_id}-writer"})
        self._coordinators: dict[CoordinationType, int] = {}
        self._transactional_id = transactional_id
        self._group_id = group_id
        self._timeout = timeout
        self._started = False
        self._producer_id = -1
        self._epoch = -1
        self._topics: tuple[str, ...] = ()
        #: How the latest transaction before the fence ended, or ends by it: True by a commit, None when nobody knows.
        self._was_committed: bool | None = None
        self._sequences: dict[tuple[str, int], int] = {}
        self._everywhere: tuple[str, ...] = ()
        self._ends: dict[str, int] = {}
        self._deadline = 0.0

    async def close(self) -> None:
        """Close the connections; an open transaction is left to the next owner's fence, or to its timeout."""
        if self._started:
            self._started = False
            await self._client.close()

    def log_end(self, topic: str) -> int | None:
        """Offset after the last record that the latest round wrote to `topic`; None when it wrote none, or when the
        broker did not tell where.
        """
        return self._ends.get(topic)

    async def fence(self, topics: tuple[str, ...], everywhere: tuple[str, ...] = ()) -> None:
        """Shut every earlier owner out and end what it left open; know the leaders of `topics`, and of those topics
        that are written `everywhere`, not only in the partition of the input.

        Raises RoundFailed when the cluster does not answer in time, AccessDenied.
        """
        self._deadline = time.monotonic() + 2 * self._timeout
        if not self._started:
            await self._client.bootstrap()
            self._started = True
        await self._client.set_topics((*topics, *everywhere))
        self._topics, self._everywhere = topics, everywhere
        await self._look_back()
        request = InitProducerIdRequest(self._transactional_id, int(self._timeout * 1000))
        response = await self._until_done(request)
        self._producer_id, self._epoch = response.producer_id, response.producer_epoch
        self._sequences.clear()

    async def committed(self, topics: tuple[str, ...], partition: int) -> dict[str, Committed]:
        """What the group has committed, by topic; topics without an offset are left out. Call it after `fence`.

        Offsets that a transaction left pending are settled first (see `_settle`). Raises RoundFailed when the cluster
        does not answer in time, AccessDenied, TransactionHangs.
        """
        request = StableOffsets(self._group_id, topics, partition)
        wait, settled = FIRST_WAIT, False
        while True:
            found, unstable = await self._ask_group(request, self._offsets_of)
            if not unstable:
                return {topic: committed for (topic, _), committed in found.items()}
            if not settled:
                await self._settle(partition)
                settled = True
            wait = await self._pause(wait)  # markers take a few milliseconds

    async def committed_anywhere(self) -> dict[tuple[str, int], Committed]:
        """What the group has committed, by topic and partition, of all topics that we may see. Call it after `fence`.

        Offsets that a transaction has pending count as they were before it: the transactions of other owners go on.
        Raises RoundFailed when the cluster does not answer in time, AccessDenied.
        """
        found, unstable = await self._ask_group(GroupOffsets(self._group_id), self._offsets_of)
        if unstable:
            raise RoundFailed("the coordinator keeps offsets back that nobody asked it to")
        return found

    async def describe_group(self) -> Any:
        """The coordinator's response to DescribeGroups for our group. Raises RoundFailed when it does not answer in
        time, AccessDenied.
        """

        def described(response: Any) -> Any:
            self._raise_for(response.groups[0][0], needs="Read")
            return response

        return await self._ask_group(DescribeGroupsRequest([self._group_id]), described)

    async def _ask_group(self, request: Any, read: Callable[[Any], _T]) -> _T:
        """Ask the group's coordinator until `read` takes its response, which raises for an error code in it."""
        return await self._ask(CoordinationType.GROUP, self._group_id, request, read)

    async def _ask(self, kind: CoordinationType, key: str, request: Any, read: Callable[[Any], _T]) -> _T:
        wait = FIRST_WAIT
        while True:
            try:
                return read(await self._send_coordinator(request, kind, key))
            except _RetryLater:
                wait = await self._pause(wait)

    def _offsets_of(self, response: Any) -> tuple[dict[tuple[str, int], Committed], bool]:
        """Committed offsets by topic and partition, and whether a transaction has others pending."""
        # Whoever does not coordinate the group (any more, or yet) names no topics: not the same as no offsets.
        self._raise_for(response.error_code, needs="Read")
        offsets: dict[tuple[str, int], Committed] = {}
        unstable = False
        for topic, partitions, _ in response.topics:
            for number, offset, _, note, code, _ in partitions:
                if code == _UNSTABLE_OFFSET_COMMIT:
                    unstable = True
                    continue
                self._raise_for(code, topic, needs="Read")
                if offset >= 0:
                    offsets[topic, number] = Committed(offset, note or "")
        return offsets, unstable

    async def _look_back(self) -> None:
        """Learn how the latest transaction ended, or will end by the fence, which forgets it."""
        response = await self._until_done(DescribeTransaction(self._transactional_id), _refusal_to_describe)
        ((_, _, state, *_),) = response.states
        if state in _COMMITTED:
            self._was_committed = True
        elif state in _ABORTED:
            self._was_committed = False
        # Else an earlier fence has forgotten it; what we learned before that one still holds.

    async def _settle(self, partition: int) -> None:
        """End for good what a transaction left pending though its coordinator holds it for ended.

        A broker that shuts down (4.3, seen) may complete a transaction without having written its markers: records and
        offsets stay open, consumers stand before them, and the next commit of the same producer would commit both these
        records and those of the same inputs decided again. An empty transaction over the same partitions ends them as
        that one was ended: its markers are taken for the lost ones, because they bear the same producer id.
        """
        if self._was_committed is None:
            raise TransactionHangs(
                f"offsets of group {self._group_id} hang in a transaction of {self._transactional_id} that has ended",
                do="find out with `kafka-transactions.sh find-hanging`, abort it with `kafka-transactions.sh abort`, "
                "start again (docs/reference/what-happens-when.md)",
            )
        logger.warning(
            "a transaction hangs: its markers were lost; it is ended again",
            extra={"transactional_id": self._transactional_id, "commit": self._was_committed},
        )
        await asyncio.gather(self._add_partitions(list(self._topics), partition), self._add_offsets())
        for topic in self._everywhere:
            for number in sorted(self._client.cluster.partitions_for_topic(topic) or ()):
                await self._add_partitions([topic], number)
        await self._end(commit=self._was_committed)

    async def commit(
        self,
        batches: Batches,
        offsets: Mapping[str, int],
        notes: Callable[[], Mapping[str, str]],
        elsewhere: Sequence[Batches] = (),
    ) -> None:
        """Write `batches` and the next `offsets` (by input topic) in one transaction, and wait for its commit.

        `elsewhere` are records for other partitions than that of the inputs.

        `notes` is asked when the records stand in the log; what it says of a topic is kept beside its offset, and what
        it raises ends the round uncommitted. Raises RoundFailed or Fenced when the commit did not, or not knowably,
        happen; AccessDenied, RecordRefused and ClockWrong when only a person can help.
        """
        self._deadline = time.monotonic() + self._timeout
        self._ends.clear()
        topics = batches.topics()
        await asyncio.gather(self._add_partitions(topics, batches.partition), self._add_offsets())
        for other in elsewhere:
            await self._add_partitions(other.topics(), other.partition)
        await self._produce(batches)
        for other in elsewhere:
            await self._produce(other)
        await self._commit_offsets(offsets, batches.partition, notes())
        await self._end()

    async def _add_partitions(self, topics: list[str], partition: int) -> None:
        wanted, wait = set(topics), FIRST_WAIT
        while wanted:
            request = AddPartitionsToTxnRequest(
                self._transactional_id, self._producer_id, self._epoch, [(topic, [partition]) for topic in wanted]
            )
            try:
                response = await self._send_coordinator(request, CoordinationType.TRANSACTION, self._transactional_id)
                for topic, partitions in response.errors:
                    for _, code in partitions:
                        if code == kafka.OperationNotAttempted.errno:
                            continue
                        self._raise_for(code, topic)
                        wanted.discard(topic)
            except _RetryLater:
                wait = await self._pause(wait)

    async def _add_offsets(self) -> None:
        request = AddOffsetsToTxnRequest(self._transactional_id, self._producer_id, self._epoch, self._group_id)
        await self._until_done(request)

    async def _commit_offsets(self, offsets: Mapping[str, int], partition: int, notes: Mapping[str, str]) -> None:
        if not offsets:
            return
        request = TxnOffsetCommitRequest(
            self._transactional_id,
            self._group_id,
            self._producer_id,
            self._epoch,
            [(topic, [(partition, offset, notes.get(topic, ""))]) for topic, offset in offsets.items()],
        )

        def taken(response: Any) -> None:
            for topic, partitions in response.errors:
                for _, code in partitions:
                    self._raise_for(code, topic, needs="Read")

        await self._ask_group(request, taken)

    async def _end(self, *, commit: bool = True) -> None:
        request = EndTxnRequest(self._transactional_id, self._producer_id, self._epoch, commit)
        await self._until_done(request)

    async def _until_done(self, request: Any, refusal: Callable[[Any], int] = attrgetter("error_code")) -> Any:
        """Ask the transaction coordinator until it does as asked; `refusal` finds the error code in its response."""

        def done(response: Any) -> Any:
            self._raise_for(refusal(response))
            return response

        return await self._ask(CoordinationType.TRANSACTION, self._transactional_id, request, done)

    async def _produce(self, batches: Batches) -> None:
        """Send all batches, those of one topic in order. Raises what `commit` raises."""
        requests = requests_of(self._chunks(batches))
        for start in range(0, len(requests), MOST_IN_FLIGHT):
            window = requests[start : start + MOST_IN_FLIGHT]
            left = await asyncio.gather(*(self._produce_once(chunks) for chunks in window))
            for failed in left:  # whatever failed is repeated one by one, so that sequences stay in order
                chunks, wait = failed, FIRST_WAIT
                while chunks:
                    wait = await self._pause(wait)
                    chunks = await self._produce_once(chunks)

    def _chunks(self, batches: Batches) -> list[list["_Chunk"]]:
        """The batches of every topic in order, with the sequence numbers that they keep however often they are sent."""
        chunks: list[list[_Chunk]] = []
        for topic, built in batches.close().items():
            of_topic: list[_Chunk] = []
            for builder, count in built:
                place = (topic, batches.partition)
                sequence = self._sequences.get(place, 0)
                builder.set_producer_state(self._producer_id, self._epoch, sequence)
                self._sequences[place] = (sequence + count) & 0x7FFFFFFF
                of_topic.append(_Chunk(topic, batches.partition, builder.build(), count))
            chunks.append(of_topic)
        return chunks

    async def _produce_once(self, chunks: list["_Chunk"]) -> list["_Chunk"]:
        """One try, one request per leader; returns what is left to send."""
        by_leader: dict[int, list[_Chunk]] = {}
        left: list[_Chunk] = []
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

    async def _produce_to(self, leader: int, chunks: list["_Chunk"]) -> list["_Chunk"]:
        request = ProduceRequest(
            transactional_id=self._transactional_id,
            required_acks=-1,
            timeout=int(self._timeout * 1000),
            topics=[(chunk.topic, [(chunk.partition, chunk.data)]) for chunk in chunks],
        )
        try:
            response = await self._client.send(leader, request)
        except _DISCONNECTED:
            return chunks
        sent = {chunk.topic: chunk for chunk in chunks}
        left: list[_Chunk] = []
        for topic, partitions in response.topics:
            for _, code, base_offset, *_ in partitions:
                if code == kafka.DuplicateSequenceNumber.errno:
                    continue  # an earlier try of ours arrived after all, at an offset that nobody tells any more
                if code == kafka.OutOfOrderSequenceNumber.errno:
                    # A request before this one got lost with its connection. What is left is sent again in order; if
                    # the broker really lost a batch, the deadline of the round ends it.
                    left.append(sent[topic])
                    continue
                try:
                    self._raise_for(code, topic)
                except _RetryLater:
                    left.append(sent[topic])
                else:
                    self._ends[topic] = max(self._ends.get(topic, 0), base_offset + sent[topic].count)
        return left

    async def _send_coordinator(self, request: Any, kind: CoordinationType, key: str) -> Any:
        try:
            node = self._coordinators.get(kind)
            if node is None:
                node = self._coordinators[kind] = await self._client.coordinator_lookup(kind, key)
                if not await self._client.ready(node, group=ConnectionGroup.COORDINATION):
                    raise kafka.NodeNotReadyError(node)
            return await self._client.send(node, request, group=ConnectionGroup.COORDINATION)
        except (*_DISCONNECTED, *_COORDINATOR_MOVED) as error:
            self._coordinators.clear()
            self._client.force_metadata_update()
            raise _RetryLater(type(error).__name__) from None
        except DENIED as error:  # the broker does not even say who coordinates
            raise self._denied(type(error)) from error

    async def _pause(self, wait: float) -> float:
        if time.monotonic() + wait > self._deadline:
            raise RoundFailed("the cluster did not take the transaction in time")
        await asyncio.sleep(wait)
        return min(wait * 2, LONGEST_WAIT)

    def _raise_for(self, code: int, topic: str = "", *, needs: str = "Write") -> None:
        """Nothing for success, _RetryLater for what passes by itself, and the others as `commit` says.

        `needs`: the right on `topic` that the request takes; committing an offset takes the right to read.
        """
        if code == 0:
            return
        error = kafka.for_code(code)
        if issubclass(error, _FENCED) or code == _PRODUCER_FENCED:
            raise Fenced(error.__name__)
        if issubclass(error, DENIED):
            raise self._denied(error, topic, needs)
        if issubclass(error, _REFUSED) or code == _INVALID_RECORD:
            raise RecordRefused(
                f"topic {topic} refuses a record ({error.__name__})",
                do="raise max.message.bytes of that topic to what `transfer-gate topics apply` lists, then restart",
            )
        if issubclass(error, kafka.InvalidTimestampError):
            # Repeating it would not help as long as the clock is wrong (`message.timestamp.after.max.ms`, 1 h).
            raise ClockWrong(
                f"topic {topic} refuses the time of our records: the clock of this machine is far off",
                do="set it (NTP), compare with `transfer-gate doctor`, and start again; nothing is lost",
            )
        if issubclass(error, _COORDINATOR_MOVED):
            self._coordinators.clear()
            raise _RetryLater(error.__name__)
        if issubclass(error, _PASSING) or error.retriable:
            raise _RetryLater(error.__name__)
        raise RoundFailed(error.__name__)

    def _denied(self, error: type[kafka.KafkaError], topic: str = "", needs: str = "Write") -> AccessDenied:
        resource = resource_of(error)
        names = {"topic": topic, "group": self._group_id, "transactional id": self._transactional_id}
        return access_denied("Read" if resource == "group" else needs, resource, [names.get(resource, "")])


def _refusal_to_describe(response: Any) -> int:
    ((code, *_),) = response.states
    return 0 if code == _TRANSACTIONAL_ID_NOT_FOUND else int(code)
