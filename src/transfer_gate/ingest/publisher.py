"""Records to `consent-events`, each in the partition of its key; written means that every in-sync replica has them."""

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from transfer_gate.errors import BrokerUnavailable
from transfer_gate.imports.writing import require_topic
from transfer_gate.kafka.clients import client_options
from transfer_gate.kafka.producer import PlainProducer
from transfer_gate.kafka.session import open_session
from transfer_gate.records.partitioner import Placement
from transfer_gate.settings import Settings

logger = logging.getLogger(__name__)

Record = tuple[bytes | None, bytes]
_AGAIN_SECONDS: Final = 1.0


class Unavailable(Exception):
    """The brokers have not acknowledged in time, or refuse: nothing may be acknowledged to the sender."""


class Publisher:
    """Writes records; see `open_publisher`.

    A record that its producer gives up is dropped and reported; one that was written twice changes no state, because
    folding is a join.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.topics.consents
        self._seconds = settings.ingest_ack_seconds
        self._producer: PlainProducer | None = None
        self._placement = Placement(settings.partitioner, None)
        self._partitions = 0

    @property
    def connected(self) -> bool:
        """Whether the producer has ever reached the cluster."""
        return self._producer is not None

    async def connect(self) -> None:
        """Connect, and try until the brokers are there.

        Raises InvalidInput where the topic is not right, AccessDenied where the right to write it is missing.
        """
        while True:
            try:
                await self._connect()
            except BrokerUnavailable as error:
                logger.warning("the brokers are away: requests are answered with 503", extra={"error": error.message})
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return

    async def close(self) -> None:
        """Disconnect. Nothing that was acknowledged waits any more."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close()

    async def write(self, records: Sequence[Record]) -> list[int]:
        """Write records; when it returns, all are acknowledged but those at the places that it returns, which the topic
        does not take because of their size. Raises Unavailable.
        """
        producer = self._producer
        if producer is None:
            raise Unavailable
        self._look_at_partitions(producer)
        sending = [asyncio.ensure_future(self._write(producer, key, value)) for key, value in records]
        done, late = await asyncio.wait(sending, timeout=self._seconds + 1)
        for task in late:
            task.cancel()
        failed = [error for task in done if (error := task.exception()) is not None]
        if late or failed:
            kind = type(failed[0]).__name__ if failed else "no answer in time"
            logger.warning("the brokers have not acknowledged: requests are answered with 503", extra={"error": kind})
            raise Unavailable
        return [place for place, task in enumerate(sending) if not task.result()]

    async def _write(self, producer: PlainProducer, key: bytes | None, value: bytes) -> bool:
        partition = self._placement.home(key)
        if partition is None:
            partition = zlib.crc32(value) % self._partitions
        return await producer.write(partition, key, value)

    def _look_at_partitions(self, producer: PlainProducer) -> None:
        """Topics may grow; aiokafka asks every five minutes. Until then events are strays, which come home."""
        count = producer.partitions
        if count and count != self._partitions:
            self._partitions = count
            self._placement = Placement(self._settings.partitioner, count)

    async def _connect(self) -> None:
        async with open_session(self._settings) as session:
            _, partitions = await require_topic(session.cluster, self._settings)
        producer = PlainProducer(client_options(self._settings), self._topic, self._seconds)
        await producer.start()
        self._partitions = partitions
        self._placement = Placement(self._settings.partitioner, partitions)
        self._producer = producer


@asynccontextmanager
async def open_publisher(settings: Settings) -> AsyncIterator[tuple[Publisher, asyncio.Task[None]]]:
    """A publisher that connects in the background, and the task that does so. It is closed at the end."""
    publisher = Publisher(settings)
    connecting = asyncio.create_task(publisher.connect())
    try:
        yield publisher, connecting
    finally:
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await publisher.close()
