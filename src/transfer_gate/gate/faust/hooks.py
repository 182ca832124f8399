"""What reaches into Faust, and with `gate.faust.fetching` into aiokafka; `tests/unit/gate/test_hooks.py` fails by name
when something of it moves.

Faust 0.15.3 delivers one record a message and lets its consumer read uncommitted. Here each fetched list of records
of one partition becomes **one** message, with the consumer's position as of that very fetch, and nothing is
committed by Faust. The consent table is a store that holds nothing: the gate keeps the states itself (`gate.table`) and
restores them before Faust looks, so that its recovery, which would wait for the offset of a commit marker for ever,
finds nothing to do.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final, cast

import aiokafka
import faust
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from faust.stores import memory
from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP
from faust.types.tuples import Message

from transfer_gate.errors import GateError
from transfer_gate.gate.assignment import Listener
from transfer_gate.gate.faust.fetching import FetchThread
from transfer_gate.gate.inbox import Fetched
from transfer_gate.gate.members import Published, with_published
from transfer_gate.kafka.access import DENIED, denied

#: Longest wait of one look at the fetched records, seconds; also how fast a paused partition is noticed again.
LOOK_SECONDS: Final = 0.05
#: Before another assignment is asked for where one lacks an input topic of a partition, seconds.
INCOMPLETE_SECONDS: Final = 1.0
#: Between two looks whether the group refuses this worker, seconds.
REFUSAL_SECONDS: Final = 0.25


class _WithoutGateErrors(logging.Filter):
    """Drops the traceback that Faust logs at a crash when the worker ends with a message for the user instead."""

    def filter(self, record: logging.LogRecord) -> bool:
        logged = (*(record.exc_info or ()), *(record.args if isinstance(record.args, tuple) else ()))
        return not any(isinstance(part, GateError) for part in logged)


#: Faust's services log under the module of their subclass.
for _module in (__name__, FetchThread.__module__):
    logging.getLogger(_module).addFilter(_WithoutGateErrors())


class BatchConsumer(Consumer):
    """Hands on whole fetches of the batch topics while no rebalance is going on."""

    @property
    def _gate(self) -> "GateApp":
        return cast(GateApp, self.app)

    def _new_consumer_thread(self) -> FetchThread:
        return FetchThread(self, self._gate.listener, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        gate = self._gate
        stopped = (self._stopped, fetcher._stopped)
        while not any(event.is_set() for event in stopped):
            await asyncio.sleep(0)
            if gate.rebalancing or not self.flow_active:
                await asyncio.sleep(0.01)
                continue
            may_fetch = gate.listener.may_fetch
            active = {tp for tp in self._get_active_partitions() if tp.topic in gate.inputs and may_fetch(*tp)}
            if not active:
                await asyncio.sleep(LOOK_SECONDS)
                continue
            rebalances = gate.rebalancing_count
            try:
                fetched = cast(dict[TP, Fetched], await self._getmany(active, LOOK_SECONDS))
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

    def _message_of(self, tp: TP, fetch: Fetched) -> Message:
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


class PublishingAssignor(PartitionAssignor):
    """Faust's assignor, which also publishes in the group what the app knows of itself, with or without partitions."""

    def metadata(self, topics: set[str]) -> ConsumerProtocolMemberMetadata:
        """The membership of this worker, made anew whenever it joins."""
        own = super().metadata(topics)
        user_data = with_published(own.user_data, cast(GateApp, self.app).published)
        return ConsumerProtocolMemberMetadata(own.version, own.subscription, user_data)


class GateApp(faust.App):
    """A Faust app that brings whole fetches to a listener, and lets it act around every rebalance and at the stop."""

    def __init__(
        self, app_id: str, listener: Listener, inputs: frozenset[str], published: Published, **options: Any
    ) -> None:
        """`inputs`: topics whose fetches are handed on whole; `published`: what the group may know of this worker;
        `options`: as of a Faust app.
        """
        self.listener = listener
        self.inputs = inputs
        self.published = published
        super().__init__(app_id, **options)

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

    async def _on_partitions_revoked(self, revoked: set[TP]) -> None:
        try:
            await self.listener.release()
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker must not go on
            await self.crash(error)
        await super()._on_partitions_revoked(revoked)

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        # aiokafka begins to heartbeat only when this returns. A restore may take longer than the session lasts: the
        # group would give the partitions away, and the next owner would fare the same.
        if not self.should_stop:
            try:
                await self._in_consumer_thread(lambda consumer: consumer._coordinator._start_heartbeat_task())
                numbers = {tp.partition for tp in assigned if tp.topic in self.inputs}
                if any(TP(topic, number) not in assigned for topic in self.inputs for number in numbers):
                    # A topic that is being made anew is not there for the moment, and the assignor leaves it out.
                    await self.listener.release()
                    await self._in_consumer_thread(lambda consumer: consumer._client.force_metadata_update())
                    await asyncio.sleep(INCOMPLETE_SECONDS)
                    opened = False
                else:
                    opened = await self.listener.open(numbers)
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
        await self.listener.release()
        # Amidst a rebalance Faust would take the end of its fetcher for a crash, and log tracebacks. Nothing is fetched
        # any more: no partition is open.
        self.rebalancing = False
        await super()._stop_consumer()

    async def until_refused(self) -> Exception:
        """Wait until the group refuses this worker, and return why.

        Faust fetches only once it has partitions: a worker that may not join would wait without a word.
        """
        while True:
            thread = cast(FetchThread | None, cast(BatchConsumer, self.consumer)._thread)
            if thread is not None and thread.refusal is not None:
                return thread.refusal
            await asyncio.sleep(REFUSAL_SECONDS)

    async def rejoin(self) -> None:
        """Ask the group for a new round: partitions are fenced, caught up and read from their committed offsets."""
        await self._in_consumer_thread(lambda consumer: consumer._coordinator.request_rejoin())

    async def _in_consumer_thread(self, call: Callable[[aiokafka.AIOKafkaConsumer], Any]) -> None:
        thread = cast(FetchThread, cast(BatchConsumer, self.consumer)._thread)

        async def request() -> None:
            call(thread._ensure_consumer())

        await thread.call_thread(request)


class RestoredStore(memory.Store[bytes, bytes]):
    """Reports to Faust up to where the gate has restored the changelog."""

    def persisted_offset(self, tp: TP) -> int | None:
        """Last changelog offset that the gate holds of a partition: all there is."""
        position = cast(GateApp, self.app).listener.restored(tp.partition)
        return position - 1 if position else None

    async def on_rebalance(self, *_: Any, **__: Any) -> None:
        """The gate moves its tables itself, after fencing."""

    async def on_recovery_completed(self, *_: Any, **__: Any) -> None:
        """Nothing was recovered by Faust."""


class ConsentTable(faust.Table[bytes, bytes]):
    """Prospect to folded consent state, by partition."""

    def _new_store(self) -> RestoredStore:
        return RestoredStore(
            "memory://",
            self.app,
            self,
            table_name=self.name,
            key_type=self.key_type,
            key_serializer=self.key_serializer,
            value_serializer=self.value_serializer,
            value_type=self.value_type,
            loop=self.loop,
            options=self.options,
        )
