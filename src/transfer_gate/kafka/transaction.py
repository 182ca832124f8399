"""One Kafka transaction per round (KIP-98), on one connection pair of its own: `produce`, then `commit`.

aiokafka's producer takes five round trips in a row and sleeps 20 to 100 ms when the markers of the previous
transaction are still being written. Here the requests that don't depend on each other overlap, and the retry waits
are short:

1. `produce`: AddPartitionsToTxn and AddOffsetsToTxn, pipelined on the coordinator's connection; then Produce;
2. `commit`: TxnOffsetCommit, then EndTxn. TxnOffsetCommit side by side with Produce took just as long in all, measured
   on one broker: so what a round notes beside its offsets can name where its records stand.

A retry resends the same bytes under the same sequence numbers, so it can't double a record (KIP-98, idempotence).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any, Final

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)
from aiokafka.structs import TopicPartition

from transfer_gate.kafka.access import NOT_OFFERED, AccessDenied
from transfer_gate.kafka.batches import Batches
from transfer_gate.kafka.coordinator import FIRST_WAIT, Committed, RetryLater, RoundFailed, TransactionHangs
from transfer_gate.kafka.produce import BatchProducer, Place, Written
from transfer_gate.kafka.requests import DescribeTransaction, GroupOffsets, Hidden, StableOffsets, not_described

logger = logging.getLogger(__name__)

#: Codes that aiokafka has no class for (Kafka protocol guide).
_UNSTABLE_OFFSET_COMMIT: Final = 88
_TRANSACTIONAL_ID_NOT_FOUND: Final = 105
#: How long offsets may stay pending where it is not known how their transaction ended, before its markers count as
#: lost, seconds.
_LATE_SECONDS: Final = 5.0
#: States of a transaction (KIP-664) that was ended, or is being ended, by a commit; and by an abort.
_COMMITTED: Final = ("PrepareCommit", "CompleteCommit")
_ABORTED: Final = ("Ongoing", "PrepareAbort", "CompleteAbort", "PrepareEpochFence")
#: A last stable offset that stands still for so long in front of the end of a log hangs, seconds: other owners write to
#: the topic of strays, and the end of a new leader is known a moment later.
HANGING_SECONDS: Final = 1.0
_WAIT_SECONDS: Final = 0.1
#: ListOffsets: the end of a log, for the two kinds of clients (KIP-98).
_LATEST: Final = -1
_READ_UNCOMMITTED: Final = 0
_READ_COMMITTED: Final = 1


class TransactionalWriter(BatchProducer):
    """The transactional producer of one partition: `fence` once, then `produce` and `commit` for each round.

    `transactional_id` is the fence between owners: only the one that called `fence` last may commit.
    """

    def __init__(self, options: Mapping[str, Any], transactional_id: str, group_id: str, timeout: float) -> None:
        super().__init__(options, transactional_id, group_id, timeout)
        self._started = False
        self._topics: tuple[str, ...] = ()
        self._everywhere: tuple[str, ...] = ()
        self._former: tuple[str, ...] = ()
        #: How the latest transaction before the fence ended, or ends by it: True by a commit, None: not known.
        self._was_committed: bool | None = None

    async def close(self) -> None:
        """Close the connections; an open transaction is left to the next owner's fence, or to its timeout."""
        if self._started:
            self._started = False
            await self._client.close()

    async def fence(
        self, topics: tuple[str, ...], everywhere: tuple[str, ...] = (), former: tuple[str, ...] = ()
    ) -> None:
        """Shut every earlier owner out and end what it left open; know the leaders of `topics`, of those topics that
        are written `everywhere`, not only in the partition of the input, and of `former` ones, that were written once.

        Raises RoundFailed when the cluster does not answer in time, AccessDenied.
        """
        self._deadline = time.monotonic() + 2 * self._timeout
        if not self._started:
            await self._client.bootstrap()
            self._started = True
        await self._client.set_topics((*topics, *everywhere, *former))
        self._topics, self._everywhere, self._former = topics, everywhere, former
        await self._look_back()
        request = InitProducerIdRequest(self._transactional_id, int(self._timeout * 1000))
        response = await self._until_done(request)
        self._begin_epoch(response.producer_id, response.producer_epoch)

    async def committed(self, topics: tuple[str, ...], partition: int) -> dict[str, Committed]:
        """What the group has committed, by topic; topics without an offset are left out. Call it after `fence`.

        Records and offsets that a transaction left pending are settled first (see `_settle`). Raises RoundFailed when
        the cluster does not answer in time, AccessDenied, TransactionHangs.
        """
        request = StableOffsets(self._group_id, topics, (partition,))
        wait, settled = FIRST_WAIT, await self._settle_records(partition)
        # Markers that are only late come by themselves; who knows how to repeat them need not wait for that.
        unknown_until = time.monotonic() + (_LATE_SECONDS if self._was_committed is None else 0)
        while True:
            found, unstable = await self._ask_group(request, self._offsets_of)
            if not unstable:
                return {topic: committed for (topic, _), committed in found.items()}
            if not settled and time.monotonic() >= unknown_until:
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
            raise RoundFailed("the coordinator keeps offsets back without a request to")
        return found

    async def committed_unless_pending(
        self, topics: tuple[str, ...], partitions: Iterable[int]
    ) -> dict[tuple[str, int], Committed] | None:
        """What the group has committed of these, by topic and partition; None while a transaction has some of it
        pending. Raises RoundFailed when the cluster does not answer in time, AccessDenied.
        """
        request = StableOffsets(self._group_id, topics, partitions)
        found, unstable = await self._ask_group(request, self._offsets_of)
        return None if unstable else found

    async def describe_group(self) -> Any:
        """The coordinator's response to DescribeGroups for our group. Raises RoundFailed when it does not answer in
        time, AccessDenied.
        """

        def described(response: Any) -> Any:
            self._raise_for(response.groups[0][0], needs="Read")
            return response

        return await self._ask_group(DescribeGroupsRequest([self._group_id]), described)

    def _offsets_of(self, response: Any) -> tuple[dict[tuple[str, int], Committed], bool]:
        """Committed offsets by topic and partition, and whether a transaction has others pending."""
        # A broker that does not coordinate the group (any more, or yet) names no topics: not the same as no offsets.
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
        """Learn how the latest transaction ended, or will end by the fence, which forgets it; where the cluster shows
        it (KIP-664), which managed ones may not.
        """
        hidden: Hidden = "unsupported"
        with contextlib.suppress(*NOT_OFFERED):
            response = await self._until_done(DescribeTransaction(self._transactional_id), _refusal_to_describe)
            hidden = not_described(response)
        if hidden:
            # What was learned before is of another transaction: there may have been more since.
            self._was_committed = None
            _report_hidden(hidden)
            return
        ((_, _, state, *_),) = response.states
        if state in _COMMITTED:
            self._was_committed = True
        elif state in _ABORTED:
            self._was_committed = False
        # Else an earlier fence has forgotten it; what we learned before that one still holds.

    async def _settle_records(self, partition: int) -> bool:
        """End what hangs in the logs of the outputs, whatever the offsets are; returns whether anything did.

        Only this owner writes to the partition, but for strays, which others write, too. Topics that are written no
        more can only be ended where it is known how; nothing can follow there.
        """
        places = {(topic, partition) for topic in self._topics}
        places |= {(topic, partition) for topic in self._former if partition in self._numbers_of(topic)}
        places |= {(topic, number) for topic in self._everywhere for number in self._numbers_of(topic)}
        found = await _hanging(self._client, places, self._deadline)
        if self._was_committed is None:
            found = frozenset(place for place in found if place[0] in self._topics)
        if found:
            await self._settle(partition, found)
        return bool(found)

    def _numbers_of(self, topic: str) -> frozenset[int]:
        return frozenset(self._client.cluster.partitions_for_topic(topic) or ())

    async def _settle(self, partition: int, places: Collection[Place] = ()) -> None:
        """End for good what a transaction left pending though its coordinator holds it for ended; `places` are those
        of the records that are known to hang.

        A broker that shuts down (4.3, seen) may complete a transaction without having written its markers: records and
        offsets stay open, consumers stand before them, and the next commit of the same producer would commit both these
        records and those of the same inputs decided again. An empty transaction over the same partitions ends them as
        that one was ended: its markers are taken for the lost ones, because they bear the same producer id.
        """
        topics = ", ".join(sorted({topic for topic, _ in places}))
        if self._was_committed is None:
            what = f"records of partition {partition} of {topics}" if topics else f"offsets of group {self._group_id}"
            raise TransactionHangs(
                f"{what} hang in a transaction of {self._transactional_id} that has ended",
                do="find out with `kafka-transactions.sh find-hanging`, abort it with `kafka-transactions.sh abort`, "
                "start again (docs/reference/what-happens-when.md)",
            )
        logger.warning(
            "a transaction hangs: its markers were lost; it is ended again",
            extra={"partition": partition, "topic": topics, "reason": "commit" if self._was_committed else "abort"},
        )
        await asyncio.gather(self._add_partitions(list(self._topics), partition), self._add_offsets())
        for topic in self._everywhere:
            for number in sorted(self._numbers_of(topic)):
                await self._add_partitions([topic], number)
        for topic in sorted({topic for topic, _ in places}.intersection(self._former)):
            await self._add_former(topic, partition)
        await self._end(commit=self._was_committed)

    async def _add_former(self, topic: str, partition: int) -> None:
        """Add a topic that is written no more, if we still may write to it."""
        try:
            await self._add_partitions([topic], partition)
        except AccessDenied as error:
            logger.error(  # noqa: TRY400 - the message is complete
                "a transaction hangs in a topic that is none of the registry's any more: %s",
                error,
                extra={"topic": topic, "partition": partition},
            )

    async def produce(self, batches: Batches, *elsewhere: Batches) -> Mapping[Place, Written]:
        """Begin a transaction and write `batches`, and those for partitions `elsewhere`, to the logs.

        Returns where the records stand, by topic and partition; what a broker did not answer for, because an earlier
        try had arrived, is left out. Raises RoundFailed or Fenced when the transaction can't go on; AccessDenied,
        RecordRefused and ClockWrong when only a person can help.
        """
        self._deadline = time.monotonic() + self._timeout
        await asyncio.gather(self._add_partitions(batches.topics(), batches.partition), self._add_offsets())
        for other in elsewhere:
            await self._add_partitions(other.topics(), other.partition)
        written: dict[Place, Written] = {}
        for part in (batches, *elsewhere):
            written |= await self._produce(part)
        return written

    async def commit(self, partition: int, offsets: Mapping[str, int], note: str = "") -> None:
        """Commit what was produced, with the next `offsets` of the inputs (by topic) in `partition`, and the `note`
        beside each. Returns when the transaction is committed.

        Raises RoundFailed or Fenced when the commit did not, or not knowably, happen; AccessDenied.
        """
        await self._commit_offsets(offsets, partition, note)
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
            except RetryLater:
                wait = await self._pause(wait)

    async def _add_offsets(self) -> None:
        request = AddOffsetsToTxnRequest(self._transactional_id, self._producer_id, self._epoch, self._group_id)
        await self._until_done(request)

    async def _commit_offsets(self, offsets: Mapping[str, int], partition: int, note: str) -> None:
        if not offsets:
            return
        request = TxnOffsetCommitRequest(
            self._transactional_id,
            self._group_id,
            self._producer_id,
            self._epoch,
            [(topic, [(partition, offset, note)]) for topic, offset in offsets.items()],
        )

        def taken(response: Any) -> None:
            for topic, partitions in response.errors:
                for _, code in partitions:
                    self._raise_for(code, topic, needs="Read")

        await self._ask_group(request, taken)

    async def _end(self, *, commit: bool = True) -> None:
        request = EndTxnRequest(self._transactional_id, self._producer_id, self._epoch, commit)
        await self._until_done(request)


def _refusal_to_describe(response: Any) -> int:
    ((code, *_),) = response.states
    return 0 if code == _TRANSACTIONAL_ID_NOT_FOUND or not_described(response) else int(code)


@cache  # once a process, not at every take-over of every partition
def _report_hidden(why: Hidden) -> None:
    logger.warning(
        "the cluster does not show how transactions ended (KIP-664): one whose markers the brokers lose stops its "
        "partition until an operator ends it; everything else works",
        extra={"reason": why},
    )


async def _hanging(client: AIOKafkaClient, places: Collection[Place], deadline: float) -> frozenset[Place]:
    """Those of `places` whose log holds a transaction for open although it has ended: consumers stand before
    it for ever. Places that we may not describe are left out.

    The coordinator does not know of it any more: DescribeTransactions (KIP-664) names no topic of a transaction that
    has ended. DescribeProducers does, but takes the right to read, which a worker does not have for its outputs. So the
    last stable offset of a log, which stands still in front of its oldest open transaction, is compared with its end.
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
            raise RoundFailed("the cluster does not answer where the logs of the outputs end")
        client.force_metadata_update()
        await asyncio.sleep(_WAIT_SECONDS)


async def _sent(client: AIOKafkaClient, leader: int, isolation: int, topics: dict[str, list[tuple[int, int]]]) -> Any:
    try:
        return (await client.send(leader, OffsetRequest(-1, isolation, list(topics.items())))).topics
    except kafka.KafkaError:
        return ()
