"""Everything that reaches into Faust and aiokafka; `tests/stream/test_hooks.py` fails by name when one of these moves.

Faust 0.15.3 delivers one record a message and lets its consumer read uncommitted. Here each fetched list of records
of one partition becomes **one** message, with the consumer's position as of that very fetch, and nothing is
committed by Faust.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, cast

import aiokafka
import faust
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.structs import TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from faust.types.tuples import Message
from msgspec import Struct

from transfer_gate.errors import GateError
from transfer_gate.stream.inbox import Record
from transfer_gate.stream.refusal import DENIED, denied

#: Longest wait of one look at the fetched records, seconds; also how fast a paused partition is noticed again.
LOOK_SECONDS: Final = 0.05
#: The broker holds an empty fetch for this long; data ends it at once.
FETCH_WAIT_MS: Final = 200
#: aiokafka sends no further fetch to a broker while records of it wait to be taken, but not longer than this, seconds.
PREFETCH_BACKOFF: Final = 0.005
#: How long the broker may hold a fetch that leaves such partitions out: until it answers, nothing of them is fetched.
LEFT_OUT_WAIT_MS: Final = 10

#: How often the group is asked whether it refuses us, seconds.
REFUSAL_SECONDS: Final = 0.25


class _ToldOnce(logging.Filter):
    """Drops the traceback that Faust logs at a crash when the worker ends with a message for the user instead."""

    def filter(self, record: logging.LogRecord) -> bool:
        told = (*(record.exc_info or ()), *(record.args if isinstance(record.args, tuple) else ()))
        return not any(isinstance(part, GateError) for part in told)


#: Faust's services log under the module of their subclass: this one.
logging.getLogger(__name__).addFilter(_ToldOnce())


_send = AIOKafkaConnection.send


def _send_unless_closed(self: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Awaitable[Any]:
    try:
        answer: Awaitable[Any] = _send(self, request, expect_response)
    except KafkaError:
        raise  # they are RuntimeErrors, too
    except RuntimeError as error:
        self.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)
        raise KafkaConnectionError(f"connection to {self.host}:{self.port} is closed") from error
    return answer


#: A connection that the broker just closed: asyncio's own transports raise OSError or nothing, which aiokafka takes for
#: a broken connection; uvloop's raise RuntimeError, which it lets through: a broker that dies would end the worker.
AIOKafkaConnection.send = _send_unless_closed


class Fetch(Struct, frozen=True):
    """What one fetch brought of one partition: its records, and the position after them."""

    records: list[Record]
    end: int


def _actions_per_node(fetcher: Any, assignment: Any) -> Any:
    # With a worker at its limit the only partitions without waiting records are idle ones: the broker would hold a
    # fetch of these for FETCH_WAIT_MS, and all the others would wait for it.
    actions = Fetcher._get_actions_per_node(fetcher, assignment)
    if fetcher._records:
        for _, request in actions[0]:
            request._max_wait_ms = LEFT_OUT_WAIT_MS
    return actions


class FetchThread(AIOKafkaConsumerThread):
    """Faust's consumer thread, reading committed records, and telling positions together with records."""

    #: Set by the app: extra arguments of the aiokafka consumer.
    consumer_options: Mapping[str, Any] = {}
    _told: dict[TopicPartition, int]

    def _create_worker_consumer(self, transport: Transport) -> aiokafka.AIOKafkaConsumer:
        # Faust builds its consumer inside this method, with a 1.5 s long poll and read_uncommitted written into it.
        real = aiokafka.AIOKafkaConsumer
        ours = {"fetch_max_wait_ms": FETCH_WAIT_MS, "isolation_level": "read_committed", **self.consumer_options}
        aiokafka.AIOKafkaConsumer = lambda **options: real(**{**options, **ours})
        try:
            return super()._create_worker_consumer(transport)
        finally:
            aiokafka.AIOKafkaConsumer = real

    async def on_start(self) -> None:
        """Start the aiokafka consumer."""
        await super().on_start()
        self._told = {}
        fetcher = self._ensure_consumer()._fetcher
        fetcher._prefetch_backoff = PREFETCH_BACKOFF
        fetcher._get_actions_per_node = partial(_actions_per_node, fetcher)

    async def _fetch_records(  # type: ignore[override]
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> dict[TP, Fetch]:
        """Wait for records or for a position that moved without any (control and aborted records are not delivered)."""
        deadline = time.monotonic() + (timeout or 0)
        fetcher = consumer._fetcher
        wanted = {TopicPartition(*tp) for tp in active_partitions}
        while self.consumer.flow_active and not (consumer._closed or fetcher._closed):
            with fetcher._subscriptions.fetch_context():
                records = await fetcher.fetched_records(wanted, timeout=0, max_records=max_records)
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
    ) -> dict[TP, Fetch]:
        subscription = consumer._subscription.subscription
        assignment = subscription.assignment if subscription else None
        fetched: dict[TP, Fetch] = {}
        if assignment is None:
            return fetched
        for place in wanted & set(assignment.tps):
            state = assignment.state_value(place)
            batch = records.get(place, [])
            if not state.has_valid_position:
                continue
            if batch or self._told.get(place) != state.position:
                self._told[place] = state.position
                fetched[TP(*place)] = Fetch(batch, state.position)
        return fetched

    @property
    def refusal(self) -> Exception | None:
        """What ended aiokafka's membership in the group; it waits there until somebody fetches."""
        error: Exception | None = getattr(getattr(self._consumer, "_coordinator", None), "_pending_exception", None)
        return error

    def forget_positions(self) -> None:
        """Tell every position again: the partitions were given out anew."""
        self._told = {}

    def _stopped_set(self) -> None:
        # A crash ends the thread, which closes its loop. Faust would tell it to stop all the same, and log a traceback.
        with contextlib.suppress(RuntimeError):
            super()._stopped_set()


class BatchConsumer(Consumer):
    """Hands on whole fetches of the batch topics while no rebalance is going on."""

    @property
    def _gate(self) -> "GateApp":
        return cast(GateApp, self.app)

    def _new_consumer_thread(self) -> FetchThread:
        thread = FetchThread(self, loop=self.loop, beacon=self.beacon)
        thread.consumer_options = self._gate.consumer_options
        return thread

    async def _drain_messages(self, fetcher: Any) -> None:
        gate = self._gate
        stopped = (self._stopped, fetcher._stopped)
        while not any(event.is_set() for event in stopped):
            await asyncio.sleep(0)
            if gate.rebalancing or not self.flow_active:
                await asyncio.sleep(0.01)
                continue
            active = {
                tp for tp in self._get_active_partitions() if tp.topic in gate.batch_topics and gate.may_fetch(tp)
            }
            if not active:
                await asyncio.sleep(LOOK_SECONDS)
                continue
            rebalances = gate.rebalancing_count
            try:
                fetched = cast(dict[TP, Fetch], await self._getmany(active, LOOK_SECONDS))
            except DENIED as error:
                await gate.crash(denied(error, "Read"))
                return
            if self._rebalanced_since(rebalances):
                # Fetched across a rebalance: maybe from before the seek to the committed offsets. Nothing of the new
                # assignment was handed on yet, so seeking again loses and doubles nothing.
                await self._begin_again()
                continue
            for tp, fetch in fetched.items():
                await self.callback(self._message_of(tp, fetch))

    def _rebalanced_since(self, count: int) -> bool:
        return self._gate.rebalancing or self._gate.rebalancing_count != count

    async def _begin_again(self) -> None:
        self.forget_positions()
        if not self._gate.rebalancing and self.flow_active:
            await self.perform_seek()

    def forget_positions(self) -> None:
        """See FetchThread."""
        cast(FetchThread, self._thread).forget_positions()

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's detector of stuck streams looks at single records; the gate has its own metrics."""

    def _message_of(self, tp: TP, fetch: Fetch) -> Message:
        # Without generation_id Faust's streams skip the message, silently; with it they drop those from before a
        # rebalance.
        whole: Any = fetch  # Faust carries a message's value untouched
        return Message(
            tp.topic,
            tp.partition,
            fetch.end - 1,
            time.time(),
            0,
            [],
            None,
            whole,
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )


class BatchTransport(Transport):
    """Faust's aiokafka transport with our consumer."""

    Consumer = BatchConsumer


class GateApp(faust.App):
    """A Faust app that delivers batches and lets the gate act around every rebalance and at the stop."""

    #: Topics whose fetches are handed on whole.
    batch_topics: frozenset[str] = frozenset()
    consumer_options: Mapping[str, Any] = {}
    #: Whether the inbox of a topic partition has room.
    may_fetch: Callable[[TP], bool]
    #: Called with the assigned partition numbers before Faust reads committed offsets: fence, then restore. False when
    #: the cluster did not answer.
    on_assigned: Callable[[set[int]], Awaitable[bool]]
    #: Called before partitions are given up, or the app stops: end the rounds that run.
    on_released: Callable[[], Awaitable[None]]
    input_topic: str

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

    async def _on_partitions_revoked(self, revoked: set[TP]) -> None:
        try:
            await self.on_released()
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker must not go on
            await self.crash(error)
        await super()._on_partitions_revoked(revoked)

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        # aiokafka begins to heartbeat only when this returns. A restore may take longer than the session lasts: the
        # group would give the partitions away, and the next owner would fare the same.
        if not self.should_stop:
            try:
                await self._in_consumer_thread(lambda consumer: consumer._coordinator._start_heartbeat_task())
                opened = await self.on_assigned({tp.partition for tp in assigned if tp.topic == self.input_topic})
            except Exception as error:  # noqa: BLE001 - see above
                await self.crash(error)
                return
            if not opened:
                # For Faust the rebalance goes on: nothing is fetched until the next assignment.
                if not self.should_stop:
                    await self.rejoin()
                return
        await super()._on_partitions_assigned(assigned, generation_id)
        cast(BatchConsumer, self.consumer).forget_positions()

    async def _stop_consumer(self) -> None:
        await self.on_released()
        # Amidst a rebalance Faust would take the end of its fetcher for a crash, and log tracebacks. Nothing is fetched
        # any more: no partition is open.
        self.rebalancing = False
        await super()._stop_consumer()

    async def until_refused(self) -> Exception:
        """Wait until the group refuses us, and return why.

        Faust fetches only once it has partitions: whoever may not join would stand there without a word.
        """
        while True:
            thread = cast(FetchThread | None, cast(BatchConsumer, self.consumer)._thread)
            if thread is not None and thread.refusal is not None:
                return thread.refusal
            await asyncio.sleep(REFUSAL_SECONDS)

    async def rejoin(self) -> None:
        """Ask the group for a new round: partitions are fenced, caught up and read from their committed offsets."""
        await self._in_consumer_thread(lambda consumer: consumer._coordinator.request_rejoin())

    async def _in_consumer_thread(self, ask: Callable[[aiokafka.AIOKafkaConsumer], Any]) -> None:
        thread = cast(FetchThread, cast(BatchConsumer, self.consumer)._thread)

        async def request() -> None:
            ask(thread._ensure_consumer())

        await thread.call_thread(request)
