"""Send quarantine records back: verbatim, to the partition they came from, under the id of their plan."""

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaProducer, ConsumerRecord

from transfer_gate.quarantine.sending import asking
from transfer_gate.settings import Settings
from transfer_gate.stream.clients import client_options

_BATCH_BYTES: Final = 256 * 1024
#: A rate is kept by pauses between packets of this many seconds' worth.
_PACE_SECONDS: Final = 0.1


class ReplaySender:
    """Writes to the replay topic. At least once: what is written twice, the gate ignores the second time."""

    def __init__(self, settings: Settings, run: str, rate: float | None) -> None:
        """`run` is the plan id, `rate` records a second at most."""
        self._topic = settings.topics.replay
        self._run = run
        self._rate = rate
        self._free_at = time.monotonic()
        self._producer = AIOKafkaProducer(
            **client_options(settings), acks="all", enable_idempotence=True, max_batch_size=_BATCH_BYTES
        )

    async def __aenter__(self) -> Self:
        try:
            await self._producer.start()
        except BaseException:
            await self._producer.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.stop()

    @property
    def packet(self) -> int:
        """How many records to send at a time."""
        return 500 if self._rate is None else max(1, min(500, int(self._rate * _PACE_SECONDS)))

    async def send(self, records: Sequence[ConsumerRecord]) -> None:
        """Write records of one partition, in order, and wait until every in-sync replica has them."""
        await self._pace(len(records))
        partition = records[0].partition
        acknowledged = []
        batch = self._producer.create_batch()
        for record in records:
            headers = asking("replay", self._run, None, record.headers)
            if batch.append(timestamp=None, key=record.key, value=record.value, headers=headers) is None:
                acknowledged.append(await self._producer.send_batch(batch, self._topic, partition=partition))
                batch = self._producer.create_batch()
                batch.append(timestamp=None, key=record.key, value=record.value, headers=headers)
        acknowledged.append(await self._producer.send_batch(batch, self._topic, partition=partition))
        await asyncio.gather(*acknowledged)

    async def _pace(self, records: int) -> None:
        if self._rate is None:
            return
        wait = self._free_at - time.monotonic()
        self._free_at = max(self._free_at, time.monotonic()) + records / self._rate
        if wait > 0:
            await asyncio.sleep(wait)
