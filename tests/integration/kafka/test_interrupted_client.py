"""A command that is interrupted while it stops a client of the brokers ends, as everywhere else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer

from transfer_gate.kafka.clients import connected
from transfer_gate.kafka.session import open_session
from transfer_gate.settings import Settings


@asynccontextmanager
async def admin_client(settings: Settings) -> AsyncIterator[object]:
    """That of a session, connected."""
    async with open_session(settings) as session:
        yield await session.cluster.brokers()


OPEN: dict[str, Callable[[Settings], AbstractAsyncContextManager[object]]] = {
    "consumer": lambda settings: connected(AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers)),
    "admin client": admin_client,
}


@pytest.mark.parametrize("client", OPEN)
async def test_a_cancellation_while_a_client_stops_is_not_lost(client: str, settings: Settings) -> None:
    """aiokafka suppresses it together with those of its own tasks."""
    stopping = asyncio.Event()

    async def act() -> None:
        async with OPEN[client](settings):
            stopping.set()
        raise AssertionError("went on")

    task = asyncio.ensure_future(act())
    await stopping.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
