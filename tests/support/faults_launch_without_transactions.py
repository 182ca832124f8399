"""Starts the gate with plain produce requests and an offset commit now and then: at least once. Test only.

This is how consumers ordinarily work. With it the tests of exactly-once prove that they find duplicates.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBatch
from faust.types import TP

from transfer_gate.cli import main
from transfer_gate.stream.batches import Batches
from transfer_gate.stream.hooks import GateApp
from transfer_gate.stream.transaction import TransactionalWriter

#: Kafka's own auto.commit.interval.ms is 5 s.
COMMIT_SECONDS: Final = 1.0

_apps: list[GateApp] = []
_producers: dict[TransactionalWriter, AIOKafkaProducer] = {}
_committed: dict[TransactionalWriter, float] = {}
_new_transport = GateApp._new_transport
_new_writer = TransactionalWriter.__init__


def _remembering_transport(self: GateApp) -> Any:
    _apps.append(self)
    return _new_transport(self)


def _remembering_options(self: TransactionalWriter, options: Mapping[str, Any], *rest: Any) -> None:
    _new_writer(self, options, *rest)
    self._plain_options = options  # type: ignore[attr-defined]


async def _commit(self: TransactionalWriter, batches: Batches, offsets: Mapping[str, int]) -> None:
    producer = _producers.get(self)
    if producer is None:
        producer = _producers[self] = AIOKafkaProducer(**self._plain_options, acks="all")  # type: ignore[attr-defined]
        await producer.start()
    sent = []
    for topic, built in batches.close().items():
        for builder, _ in built:
            builder.set_producer_state(0, 0, 0)
            for record in DefaultRecordBatch(builder.build()):
                sent.append(
                    await producer.send(
                        topic, record.value, record.key, partition=batches.partition, headers=record.headers
                    )
                )
    await asyncio.gather(*sent)
    if time.monotonic() - _committed.get(self, 0) > COMMIT_SECONDS:
        _committed[self] = time.monotonic()
        await _apps[-1].consumer._thread.commit(
            {TP(topic, batches.partition): offset for topic, offset in offsets.items()}
        )


GateApp._new_transport = _remembering_transport  # type: ignore[method-assign]
TransactionalWriter.__init__ = _remembering_options  # type: ignore[method-assign,assignment]
TransactionalWriter.commit = _commit  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
