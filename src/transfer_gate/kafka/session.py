"""One session with the cluster for a command: settings and secrets read once, connections shared and closed at its end.

A command opens one session and hands it to everything that it calls. Admin client, consumers and producer connect when
they are first used.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from transfer_gate.kafka.clients import client_options
from transfer_gate.kafka.cluster import Cluster
from transfer_gate.kafka.producer import Producer
from transfer_gate.kafka.reader import Reader
from transfer_gate.settings import Settings

T = TypeVar("T")


class Session:
    """The cluster of some settings, as one command uses it; see `open_session`.

    - `settings`, `options`: the settings, and the keyword arguments that every aiokafka client takes of them.
    - `cluster`: topics, configurations, groups.
    - `reader`: committed records.
    - `producer`: writes records.
    """

    def __init__(self, settings: Settings) -> None:
        """Read the files of certificates and passwords. Raises InvalidInput when one can't be used."""
        self.settings = settings
        self.options = client_options(settings)
        self.cluster = Cluster(settings, self.options)
        self.reader = Reader(settings, self.options)
        self.producer = Producer(self.options, self.cluster)


@asynccontextmanager
async def open_session(settings: Settings) -> AsyncIterator[Session]:
    """A session with the cluster of `settings`.

    What its parts raise when the cluster can't be reached, refuses or does not answer: BrokerUnavailable, AccessDenied.
    """
    session = Session(settings)
    async with AsyncExitStack() as closing:
        for part in (session.cluster, session.reader, session.producer):
            closing.push_async_callback(part.close)
        yield session


def in_session(settings: Settings, work: Callable[[Session], Awaitable[T]]) -> T:
    """Run `work` with a session that is closed at its end; what a command does. Returns what it returns."""

    async def run() -> T:
        async with open_session(settings) as session:
            return await work(session)

    return asyncio.run(run())
