"""Run what a command does within one session with the cluster."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from transfer_gate.kafka.session import Session, open_session
from transfer_gate.settings import Settings

T = TypeVar("T")


def in_session(settings: Settings, work: Callable[[Session], Awaitable[T]]) -> T:
    """Return what `work` returns, given a session that is closed at its end."""

    async def run() -> T:
        async with open_session(settings) as session:
            return await work(session)

    return asyncio.run(run())
