"""Records to `consent-events`, each in the partition of its key; written means that every in-sync replica has them."""

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from transfer_gate.errors import BrokerUnavailable
from transfer_gate.imports.writing import require_topic
from transfer_gate.kafka.access import broker_errors
from transfer_gate.kafka.clients import client_options
from transfer_gate.kafka.session import open_session
from transfer_gate.records.partitioner import Placement
from transfer_gate.settings import Settings

logger = logging.getLogger(__name__)

Record = tuple[bytes | None, bytes]
#: Largest batch, bytes: a record that a topic refuses must not take many others with it.
_BATCH_BYTES: Final = 64 << 10
_LARGEST_REQUEST: Final = 4 << 20
#: How long a batch waits for more, milliseconds: the price of an answer, and what makes 2,000 a second cheap.
_LINGER_MS: Final = 2
_AGAIN_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 5.0


class Unavailable(Exception):
    """The brokers have not acknowledged in time, or refuse: nothing may be acknowledged to the sender."""


class Publisher:
    """Writes records; see `open_publisher`.

    The producer is not idempotent on purpose: a record that it gives up is dropped and reported, and one that was
    written twice changes no state, because folding is a join. An idempotent one of aiokafka would try for ever.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.topics.consents
        self._seconds = settings.ingest_ack_seconds
        self._producer: AIOKafkaProducer | None = None
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
            await _stop(producer)

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
        errors = [task.exception() for task in done]
        too_large = [place for place, task in enumerate(sending) if task in done and _is_size(task.exception())]
        failed = [error for error in errors if error is not None and not _is_size(error)]
        if late or failed:
            kind = type(failed[0]).__name__ if failed else "no answer in time"
            logger.warning("the brokers have not acknowledged: requests are answered with 503", extra={"error": kind})
            raise Unavailable
        return too_large

    async def _write(self, producer: AIOKafkaProducer, key: bytes | None, value: bytes) -> None:
        partition = self._placement.home(key)
        if partition is None:
            partition = zlib.crc32(value) % self._partitions
        acknowledged = await producer.send(self._topic, value, key=key, partition=partition)
        await acknowledged

    def _look_at_partitions(self, producer: AIOKafkaProducer) -> None:
        """Topics may grow; aiokafka asks every five minutes. Until then events are strays, which come home."""
        count = len(producer.client.cluster.partitions_for_topic(self._topic) or ())
        if count and count != self._partitions:
            self._partitions = count
            self._placement = Placement(self._settings.partitioner, count)

    async def _connect(self) -> None:
        options: dict[str, Any] = client_options(self._settings)
        async with open_session(self._settings) as session:
            _, partitions = await require_topic(session.cluster, self._settings)
        async with broker_errors(options):
            producer = AIOKafkaProducer(
                **options,
                acks="all",
                request_timeout_ms=int(self._seconds * 1000),
                retry_backoff_ms=100,
                linger_ms=_LINGER_MS,
                max_batch_size=_BATCH_BYTES,
                max_request_size=_LARGEST_REQUEST,
            )
            try:
                await producer.start()
                await producer.partitions_for(self._topic)
            except BaseException:
                await _stop(producer)
                raise
        self._partitions = partitions
        self._placement = Placement(self._settings.partitioner, partitions)
        self._producer = producer


def _is_size(error: BaseException | None) -> bool:
    return isinstance(error, MessageSizeTooLargeError)


async def _stop(producer: AIOKafkaProducer) -> None:
    """Stop within a bound: without brokers it would wait for what is not acknowledged."""
    try:
        await asyncio.wait_for(producer.stop(), _STOP_SECONDS)
    except (TimeoutError, KafkaError):
        await producer.client.close()


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
