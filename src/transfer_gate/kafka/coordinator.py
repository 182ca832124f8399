"""Requests to the coordinators of a transaction and of a consumer group, repeated until they are done as asked; what it
means when they are not; who the members of a group are, and what it has committed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeVar

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.api import Request
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from msgspec import Struct

from transfer_gate.errors import GateError
from transfer_gate.kafka.access import DENIED, AccessDenied, access_denied, resource_of

T = TypeVar("T")

#: First and longest wait between tries of one request, seconds. Markers of a transaction take a few milliseconds.
FIRST_WAIT: Final = 0.001
LONGEST_WAIT: Final = 0.1

_FENCED: Final = (
    kafka.InvalidProducerEpoch,
    kafka.ProducerFenced,
    kafka.InvalidProducerIdMapping,
    kafka.TransactionCoordinatorFenced,
)
_COORDINATOR_MOVED: Final = (kafka.CoordinatorNotAvailableError, kafka.NotCoordinatorError)
DISCONNECTED: Final = (kafka.NodeNotReadyError, kafka.RequestTimedOutError, kafka.KafkaConnectionError)
_REFUSED: Final = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)
#: Codes that aiokafka has no class for (Kafka protocol guide).
_INVALID_RECORD: Final = 87
_PRODUCER_FENCED: Final = 90
_PASSING: Final = (kafka.ConcurrentTransactions, kafka.UnknownTopicOrPartitionError)

#: Sends a request to a broker by its id, None any, and returns the response.
Send = Callable[[Request[Any], int | None], Awaitable[Any]]
#: How long a group's coordinator may take to come up or move, seconds. The first question makes the broker create it.
PATIENCE_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1
_GROUP_MOVES: Final = (
    kafka.GroupCoordinatorNotAvailableError,
    kafka.GroupLoadInProgressError,
    kafka.NotCoordinatorForGroupError,
    kafka.NodeNotReadyError,
    kafka.RebalanceInProgressError,
)
#: States of a group in which DescribeGroups returns what every member publishes.
_SETTLED: Final = ("Stable", "Empty", "Dead")


class RoundFailed(Exception):
    """The transaction did not end in a known commit. The partition must be fenced and caught up before it goes on."""


class Fenced(RoundFailed):
    """Another worker owns the partition now, or the coordinator timed the transaction out (KIP-98 fencing)."""


class RetryLater(Exception):
    """A refusal that passes by itself."""


class PartitionStops(GateError):
    """What keeps one partition from going on; the others of this worker and of the group decide on."""


class RecordRefused(PartitionStops):
    """The broker will never take a record of this round, for instance because it is too large for its topic."""


class ClockWrong(GateError):
    """The broker refuses the time that this machine's clock gives the records."""


class TransactionHangs(PartitionStops):
    """Offsets of the group are pending in a transaction that has ended, and it is not known how."""


class Committed(NamedTuple):
    """What a group has committed of a partition: the next offset, and the metadata beside it, a round's note."""

    offset: int
    note: str


class Member(Struct, frozen=True):
    """A member of a consumer group: its id, from where it connects, and the user data of its subscription (KIP-54)."""

    member_id: str
    host: str
    user_data: bytes


class CoordinatorClient:
    """A connection of one transactional id and its group, which knows their coordinators.

    `_deadline`, of `time.monotonic`, bounds what is asked of them.
    """

    def __init__(self, options: Mapping[str, Any], transactional_id: str, group_id: str) -> None:
        self._client = AIOKafkaClient(**{**options, "client_id": f"{transactional_id}-writer"})
        self._coordinators: dict[CoordinationType, int] = {}
        self._transactional_id = transactional_id
        self._group_id = group_id
        self._deadline = 0.0

    async def _ask_group(self, request: Any, read: Callable[[Any], T]) -> T:
        """Ask the group's coordinator until `read` takes its response, which raises for an error code in it."""
        return await self._ask(CoordinationType.GROUP, self._group_id, request, read)

    async def _ask(self, kind: CoordinationType, key: str, request: Any, read: Callable[[Any], T]) -> T:
        wait = FIRST_WAIT
        while True:
            try:
                return read(await self._send_coordinator(request, kind, key))
            except RetryLater:
                wait = await self._pause(wait)

    async def _until_done(self, request: Any, refusal: Callable[[Any], int] = attrgetter("error_code")) -> Any:
        """Ask the transaction coordinator until it does as asked; `refusal` finds the error code in its response."""

        def done(response: Any) -> Any:
            self._raise_for(refusal(response))
            return response

        return await self._ask(CoordinationType.TRANSACTION, self._transactional_id, request, done)

    async def _send_coordinator(self, request: Any, kind: CoordinationType, key: str) -> Any:
        try:
            node = self._coordinators.get(kind)
            if node is None:
                node = self._coordinators[kind] = await self._client.coordinator_lookup(kind, key)
                if not await self._client.ready(node, group=ConnectionGroup.COORDINATION):
                    raise kafka.NodeNotReadyError(node)
            return await self._client.send(node, request, group=ConnectionGroup.COORDINATION)
        except (*DISCONNECTED, *_COORDINATOR_MOVED) as error:
            self._coordinators.clear()
            self._client.force_metadata_update()
            raise RetryLater(type(error).__name__) from None
        except DENIED as error:  # the broker does not even name the coordinator
            raise self._denied(type(error)) from error

    async def _pause(self, wait: float) -> float:
        if time.monotonic() + wait > self._deadline:
            raise RoundFailed("the cluster did not take the transaction in time")
        await asyncio.sleep(wait)
        return min(wait * 2, LONGEST_WAIT)

    def _raise_for(self, code: int, topic: str = "", *, needs: str = "Write") -> None:
        """Nothing for success, RetryLater for what passes by itself, and the others as `produce` and `commit` do.

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
            raise RetryLater(error.__name__)
        if issubclass(error, _PASSING) or error.retriable:
            raise RetryLater(error.__name__)
        raise RoundFailed(error.__name__)

    def _denied(self, error: type[kafka.KafkaError], topic: str = "", needs: str = "Write") -> AccessDenied:
        resource = resource_of(error)
        names = {"topic": topic, "group": self._group_id, "transactional id": self._transactional_id}
        return access_denied("Read" if resource == "group" else needs, resource, [names.get(resource, "")])


async def settled_members(send: Send, group: str) -> list[Member]:
    """The members of the group. Raises AccessDenied; RebalanceInProgressError when it still rebalances after
    PATIENCE_SECONDS: the coordinator returns no metadata of members meanwhile.
    """

    async def request() -> list[Member]:
        response = await _ask_coordinator(send, group, DescribeGroupsRequest([group]))
        ((code, _, state, _, _, found, *_),) = response.groups
        if code == kafka.GroupIdNotFound.errno:
            return []
        _raise_for(code, group)
        if state not in _SETTLED:
            raise kafka.RebalanceInProgressError(group)
        return [_member(*described) for described in found]

    return await _repeated(request)


def _member(member_id: str, _client_id: str, host: str, metadata: bytes, *_: Any) -> Member:
    user_data = ConsumerProtocolMemberMetadata.decode(metadata).user_data if metadata else b""
    return Member(member_id, host.removeprefix("/"), user_data or b"")


async def subscriptions(send: Send, group: str, needs: str = "Describe") -> list[frozenset[str]]:
    """The topics that each member of the group reads; empty for a member while the group rebalances.

    Raises AccessDenied that names the right which the caller `needs`: who reads in the group has that to describe it.
    """

    async def request() -> list[frozenset[str]]:
        response = await _ask_coordinator(send, group, DescribeGroupsRequest([group]), needs)
        ((code, *_),) = response.groups
        if code != kafka.GroupIdNotFound.errno:
            _raise_for(code, group, needs)
        return subscriptions_of(response)

    return await _repeated(request)


def subscriptions_of(response: Any) -> list[frozenset[str]]:
    """The same of a response to DescribeGroups for one group."""
    ((_, _, _, _, _, found, *_),) = response.groups
    return [
        frozenset(ConsumerProtocolMemberMetadata.decode(metadata).subscription if metadata else ())
        for _, _, _, metadata, *_ in found
    ]


async def committed(send: Send, group: str) -> dict[tuple[str, int], Committed]:
    """What the group has committed, by (topic, partition); a partition that it has not committed is left out."""

    async def request() -> dict[tuple[str, int], Committed]:
        response = await _ask_coordinator(send, group, OffsetFetchRequest(group, None))
        _raise_for(response.error_code, group)
        found = {}
        for topic, partitions in response.topics:
            for partition, offset, note, code in partitions:
                _raise_for(code, group)
                if offset >= 0:
                    found[topic, partition] = Committed(offset, note or "")
        return found

    return await _repeated(request)


async def _ask_coordinator(send: Send, group: str, request: Request[Any], needs: str = "Describe") -> Any:
    found = await send(FindCoordinatorRequest(group, 0), None)
    _raise_for(found.error_code, group, needs)
    return await send(request, found.coordinator_id)


def _raise_for(code: int, group: str, needs: str = "Describe") -> None:
    if code == kafka.GroupAuthorizationFailedError.errno:
        raise access_denied(needs, "group", [group])
    if code:
        raise kafka.for_code(code)


async def _repeated(request: Callable[[], Awaitable[T]]) -> T:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await request()
        except _GROUP_MOVES:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(_POLL_SECONDS)
