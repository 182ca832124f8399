"""What the coordinator knows of a consumer group: members and committed offsets."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeVar

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupIdNotFound,
    GroupLoadInProgressError,
    NodeNotReadyError,
    NotCoordinatorForGroupError,
    RebalanceInProgressError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.api import Request
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from msgspec import Struct

from transfer_gate.kafka.access import access_denied

_T = TypeVar("_T")
#: Sends a request to a broker by its id, None any, and returns the response.
Send = Callable[[Request[Any], int | None], Awaitable[Any]]

#: How long a coordinator may take to come up or move, seconds. The first question of all makes the broker create one.
PATIENCE_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1
_PASSING: Final = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    NodeNotReadyError,
    RebalanceInProgressError,
)
#: States of a group in which DescribeGroups returns what every member publishes.
_SETTLED: Final = ("Stable", "Empty", "Dead")


class Member(Struct, frozen=True):
    """A member of a consumer group: its id, from where it connects, and the user data of its subscription (KIP-54)."""

    member_id: str
    host: str
    user_data: bytes


async def settled_members(send: Send, group: str) -> list[Member]:
    """The members of the group. Raises AccessDenied; RebalanceInProgressError when it still rebalances after
    PATIENCE_SECONDS: the coordinator returns no metadata of members meanwhile.
    """

    async def request() -> list[Member]:
        response = await _ask_coordinator(send, group, DescribeGroupsRequest([group]))
        ((code, _, state, _, _, found, *_),) = response.groups
        if code == GroupIdNotFound.errno:
            return []
        _raise_for(code, group)
        if state not in _SETTLED:
            raise RebalanceInProgressError(group)
        return [_member(*described) for described in found]

    return await _repeated(request)


def _member(member_id: str, _client_id: str, host: str, metadata: bytes, *_: Any) -> Member:
    user_data = ConsumerProtocolMemberMetadata.decode(metadata).user_data if metadata else b""
    return Member(member_id, host.removeprefix("/"), user_data or b"")


class GroupOffset(NamedTuple):
    """What a group has committed of a partition: the next offset, and the metadata beside it."""

    offset: int
    note: str


async def members(send: Send, group: str) -> int:
    """How many members the group has now; none when there is no such group."""
    return len(await subscriptions(send, group))


async def subscriptions(send: Send, group: str, needs: str = "Describe") -> list[frozenset[str]]:
    """The topics that each member of the group reads; empty for a member while the group rebalances.

    Raises AccessDenied that names the right which the caller `needs`: who reads in the group has that to describe it.
    """

    async def request() -> list[frozenset[str]]:
        response = await _ask_coordinator(send, group, DescribeGroupsRequest([group]), needs)
        ((code, *_),) = response.groups
        if code != GroupIdNotFound.errno:
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


async def committed(send: Send, group: str) -> dict[tuple[str, int], GroupOffset]:
    """What the group has committed, by (topic, partition); a partition that it has not committed is left out."""

    async def request() -> dict[tuple[str, int], GroupOffset]:
        response = await _ask_coordinator(send, group, OffsetFetchRequest(group, None))
        _raise_for(response.error_code, group)
        found = {}
        for topic, partitions in response.topics:
            for partition, offset, note, code in partitions:
                _raise_for(code, group)
                if offset >= 0:
                    found[topic, partition] = GroupOffset(offset, note or "")
        return found

    return await _repeated(request)


async def _ask_coordinator(send: Send, group: str, request: Request[Any], needs: str = "Describe") -> Any:
    found = await send(FindCoordinatorRequest(group, 0), None)
    _raise_for(found.error_code, group, needs)
    return await send(request, found.coordinator_id)


def _raise_for(code: int, group: str, needs: str = "Describe") -> None:
    if code == GroupAuthorizationFailedError.errno:
        raise access_denied(needs, "group", [group])
    if code:
        raise for_code(code)


async def _repeated(request: Callable[[], Awaitable[_T]]) -> _T:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await request()
        except _PASSING:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(_POLL_SECONDS)
