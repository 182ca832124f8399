"""Starts the gate with plain produce requests and an offset commit now and then: at least once. Test only.

This is how consumers ordinarily work. With it the tests of exactly-once prove that they find duplicates.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final, cast
from unittest.mock import patch

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBatch
from faust.types import TP

from transfer_gate.cli import main
from transfer_gate.gate import takeover
from transfer_gate.gate.faust.hooks import BatchConsumer, GateApp
from transfer_gate.gate.integrity.offsets import OffsetEvidence
from transfer_gate.kafka.batches import Batches
from transfer_gate.kafka.produce import Written
from transfer_gate.kafka.transaction import TransactionalWriter

#: Kafka's own auto.commit.interval.ms is 5 s.
COMMIT_SECONDS: Final = 1.0

_new_transport = GateApp._new_transport
_fence = TransactionalWriter.fence
#: One for all partitions, as it would be without transactions.
_producers: list[asyncio.Future[AIOKafkaProducer]] = []
_done: dict[TP, int] = {}
_tasks: set[asyncio.Task[None]] = set()


def _committing_transport(self: GateApp) -> Any:
    async def commit_now_and_then() -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            held = self.consumer.assignment()
            done = {place: offset for place, offset in _done.items() if place in held}
            _done.clear()
            if done:
                with contextlib.suppress(Exception):  # a rebalance came between: the next owner begins further back
                    await cast(BatchConsumer, self.consumer)._thread.commit(done)

    _tasks.add(asyncio.create_task(commit_now_and_then()))
    return _new_transport(self)


async def _connect(
    self: TransactionalWriter,
    topics: tuple[str, ...],
    everywhere: tuple[str, ...] = (),
    former: tuple[str, ...] = (),
) -> None:
    await _fence(self, topics, everywhere, former)
    if not _producers:
        _producers.append(asyncio.ensure_future(_start(self._client._bootstrap_servers)))
    await _producers[0]


async def _start(bootstrap_servers: str) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
    await producer.start()
    return producer


async def _produce(
    _self: TransactionalWriter, batches: Batches, *_elsewhere: Batches
) -> Mapping[tuple[str, int], Written]:
    producer, sent = _producers[0].result(), []
    for topic, built in batches.close().items():
        for builder, _ in built:
            builder.set_producer_state(0, 0, 0)
            sent += [
                await producer.send(
                    topic, record.value, record.key, partition=batches.partition, headers=record.headers
                )
                for record in DefaultRecordBatch(builder.build())
            ]
    await asyncio.gather(*sent)
    return {}


async def _commit(_self: TransactionalWriter, partition: int, offsets: Mapping[str, int], _note: str = "") -> None:
    _done.update({TP(topic, partition): offset for topic, offset in offsets.items()})


def _require_no_offsets(*_: object, **__: object) -> None:
    """Without transactions states stand in the changelog before any offset is committed, and commits have no notes."""


async def _none_lack(*_: object) -> frozenset[int]:
    """The same of a whole group."""
    return frozenset()


patch.object(takeover, "require_offsets", _require_no_offsets).start()
patch.object(OffsetEvidence, "require", _require_no_offsets).start()
patch.object(takeover, "lacking_offsets", _none_lack).start()
GateApp._new_transport = _committing_transport  # type: ignore[method-assign]
TransactionalWriter.fence = _connect  # type: ignore[method-assign]
TransactionalWriter.produce = _produce  # type: ignore[method-assign,assignment]
TransactionalWriter.commit = _commit  # type: ignore[method-assign,assignment]

if __name__ == "__main__":
    main()
