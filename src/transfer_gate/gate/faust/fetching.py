"""How records are fetched: committed ones only, with the position after them, and nothing held up by what is idle.

Reaches into aiokafka and into Faust's consumer thread; the rest that reaches into Faust is in `gate.faust.hooks`.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from functools import partial
from itertools import starmap
from typing import Any, Final

import aiokafka
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaConnectionError, KafkaError, NotCoordinatorForGroupError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Transport
from faust.types import TP

from transfer_gate.gate.assignment import Listener
from transfer_gate.gate.inbox import Fetched, Reached, Record
from transfer_gate.gate.memory import RESPONSE_BYTES
from transfer_gate.kafka import TopicPartition

#: The broker holds an empty fetch for this long; data ends it at once.
FETCH_WAIT_MS: Final = 200
#: aiokafka sends no further fetch to a broker while records of it wait to be taken, but not longer than this, seconds.
PREFETCH_BACKOFF: Final = 0.005
#: How long the broker may hold a fetch that leaves such partitions out: until it answers, nothing of them is fetched.
LEFT_OUT_WAIT_MS: Final = 10


_send = AIOKafkaConnection.send


def _send_unless_closed(self: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Awaitable[Any]:
    try:
        answer: Awaitable[Any] = _send(self, request, expect_response)
    except (KafkaError, NotImplementedError):
        raise  # they are RuntimeErrors, too: the latter says that the broker has no version of the request
    except RuntimeError as error:
        self.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)
        raise KafkaConnectionError(f"connection to {self.host}:{self.port} is closed") from error
    return answer


#: A connection that the broker just closed: asyncio's own transports raise OSError or nothing, which aiokafka takes for
#: a broken connection; uvloop's raise RuntimeError, which it lets through: a broker that dies would end the worker.
AIOKafkaConnection.send = _send_unless_closed

_ask = GroupCoordinator._send_req


async def _ask_for_an_answer(self: GroupCoordinator, request: Any) -> Any:
    response = await _ask(self, request)
    if isinstance(request, OffsetFetchRequest) and response.error_code:
        error = for_code(response.error_code)
        if error is NotCoordinatorForGroupError:
            self.coordinator_dead()
        raise error(self.group_id)
    return response


#: Since KIP-88 a broker that does not, or not yet, coordinate the group says so for the whole response, and names no
#: topics. aiokafka looks at topics only: it would take that for a group without offsets, and begin at the first record.
GroupCoordinator._send_req = _ask_for_an_answer


def tune(fetcher: Any) -> None:
    """Let nothing that is busy wait for what is idle."""
    fetcher._prefetch_backoff = PREFETCH_BACKOFF
    fetcher._get_actions_per_node = partial(_actions_per_node, fetcher)


def _actions_per_node(fetcher: Any, assignment: Any) -> Any:
    # With a worker at its limit the only partitions without waiting records are idle ones: the broker would hold a
    # fetch of these for FETCH_WAIT_MS, and all the others would wait for it.
    actions = Fetcher._get_actions_per_node(fetcher, assignment)
    leaving_out = {fetcher._select_read_replica(place) for place in fetcher._records}
    for node, request in actions[0]:
        if node in leaving_out:
            request._max_wait_ms = LEFT_OUT_WAIT_MS
    return actions


class FetchThread(AIOKafkaConsumerThread):
    """Faust's consumer thread, reading committed records, and handing positions on together with records."""

    def __init__(self, consumer: Any, listener: Listener, **options: Any) -> None:
        self._listener = listener
        #: Positions that were handed on.
        self._positions: dict[TopicPartition, int] = {}
        super().__init__(consumer, **options)

    def _create_worker_consumer(self, transport: Transport) -> aiokafka.AIOKafkaConsumer:
        # Faust builds its consumer inside this method, with a 1.5 s long poll and read_uncommitted written into it.
        real = aiokafka.AIOKafkaConsumer
        own = {
            "fetch_max_wait_ms": FETCH_WAIT_MS,
            "fetch_max_bytes": RESPONSE_BYTES,
            "isolation_level": "read_committed",
        }
        aiokafka.AIOKafkaConsumer = lambda **options: real(**{**options, **own})
        try:
            return super()._create_worker_consumer(transport)
        finally:
            aiokafka.AIOKafkaConsumer = real

    async def on_start(self) -> None:
        """Start the aiokafka consumer."""
        await super().on_start()
        self._positions = {}
        tune(self._ensure_consumer()._fetcher)

    async def _fetch_records(  # type: ignore[override]
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> dict[TP, Fetched]:
        """Wait for records or for a position that moved without any (control and aborted records are not delivered)."""
        deadline = time.monotonic() + (timeout or 0)
        fetcher = consumer._fetcher
        wanted = {TopicPartition(*tp) for tp in active_partitions}
        while self.consumer.flow_active and not (consumer._closed or fetcher._closed):
            subscription = consumer._subscription.subscription
            if subscription is not None and subscription.assignment is not None:
                subscription.assignment.look = self._listener.look()
            with fetcher._subscriptions.fetch_context():
                records = await fetcher.fetched_records(wanted, timeout=0, max_records=max_records)
            for place in records:
                if place in fetcher._records:
                    fetcher._records.move_to_end(place)  # the others come first next time
            fetched = self._with_positions(consumer, wanted, records)
            left = deadline - time.monotonic()
            if fetched or left <= 0:
                return fetched
            waiter = fetcher._create_fetch_waiter()
            done, _ = await asyncio.wait(
                [waiter, fetcher.error_future], timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            for ended in done:
                if not ended.cancelled():  # it is when the consumer closes
                    ended.result()  # raises what the group's coordinator refused, or what ended aiokafka's fetching
            waiter.cancel()  # it would stay with the fetcher until data come
        return {}

    def _with_positions(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        wanted: set[TopicPartition],
        records: dict[TopicPartition, list[Record]],
    ) -> dict[TP, Fetched]:
        subscription = consumer._subscription.subscription
        assignment = subscription.assignment if subscription else None
        fetched: dict[TP, Fetched] = {}
        if assignment is None:
            return fetched
        for place in wanted & set(assignment.tps):
            state = assignment.state_value(place)
            batch = records.get(place, [])
            if not state.has_valid_position:
                continue
            if batch or self._positions.get(place) != state.position:
                self._positions[place] = state.position
                epochs, state.leader_epochs = getattr(state, "leader_epochs", {}), {}
                hole, state.hole = getattr(state, "hole", None), None
                reached = tuple(starmap(Reached, sorted(epochs.items())))
                fetched[TP(*place)] = Fetched.of(batch, state.position, reached, hole)
        return fetched

    @property
    def refusal(self) -> Exception | None:
        """What ended aiokafka's membership in the group; it waits there until something is fetched."""
        error: Exception | None = getattr(getattr(self._consumer, "_coordinator", None), "_pending_exception", None)
        return error

    def forget_positions(self) -> None:
        """Hand every position on once more: the partitions were given out anew."""
        self._positions = {}

    def _stopped_set(self) -> None:
        # A crash ends the thread, which closes its loop. Faust would stop it all the same, and log a traceback.
        with contextlib.suppress(RuntimeError):
            super()._stopped_set()
