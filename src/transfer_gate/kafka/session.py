"""One session with the cluster for a command: settings and secrets read once, connections shared and closed at its end.

A command opens one session and hands it to everything that it calls. The admin connection, the consumers and the
producer connect when they are first used.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaProducer

from transfer_gate.kafka.clients import client_options, connected
from transfer_gate.kafka.cluster import Cluster
from transfer_gate.kafka.reader import Reader
from transfer_gate.kafka.refusal import broker_errors
from transfer_gate.settings import Settings

#: A batch of the producer, bytes.
_BATCH_BYTES: Final = 256 * 1024


class Session:
    """The cluster of some settings, as one command uses it; see `open_session`.

    - `settings`, `options`: the settings, and the keyword arguments that every aiokafka client takes of them.
    - `cluster`: topics, configurations, groups.
    - `reader`: committed records.
    """

    def __init__(self, settings: Settings) -> None:
        """Read the files of certificates and passwords. Raises InvalidInput when one can't be used."""
        self.settings = settings
        self.options = client_options(settings)
        self.cluster = Cluster(settings, self.options)
        self.reader = Reader(settings, self.options)
        self._closing = AsyncExitStack()
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def producer(self) -> AIOKafkaProducer:
        """The idempotent producer of the session, which waits for every in-sync replica. Raises BrokerUnavailable."""
        async with self._connecting, broker_errors(self.options):
            if self._producer is None:
                client = AIOKafkaProducer(
                    **self.options, acks="all", enable_idempotence=True, max_batch_size=_BATCH_BYTES
                )
                self._producer = await self._closing.enter_async_context(connected(client))
            return self._producer

    async def close(self) -> None:
        """Close every connection."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.cluster.close)
            stack.push_async_callback(self.reader.close)
            stack.push_async_callback(self._closing.aclose)


@asynccontextmanager
async def open_session(settings: Settings) -> AsyncIterator[Session]:
    """A session with the cluster of `settings`.

    What its parts raise when the cluster can't be reached, refuses or does not answer: BrokerUnavailable, AccessDenied.
    """
    session = Session(settings)
    try:
        yield session
    finally:
        await session.close()
