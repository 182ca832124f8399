"""Requests to the coordinators of a transaction and of a group, repeated until they are done as asked; and what it
means when they are not.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final, TypeVar

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType

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
