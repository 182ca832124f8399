"""Feeds without Faust and without a broker."""

import asyncio
from collections.abc import Sequence

from transfer_gate.errors import GateError
from transfer_gate.gate.assignment import Listener
from transfer_gate.gate.inbox import Fetched

#: Topic, partition, what was fetched of it.
Brought = tuple[str, int, Fetched]


class ListFeed:
    """Gives out partitions and brings lists of fetches, once and again after each `rejoin`."""

    def __init__(self, partitions: set[int] | None = None, brought: Sequence[Brought] = ()) -> None:
        self._partitions = partitions or set()
        self._brought = brought
        self.rejoined = 0
        self.failure: BaseException | None = None
        self._changed = asyncio.Event()
        self._stopped = False

    async def run(self, listener: Listener) -> None:
        while not self._stopped:
            served = self.rejoined
            if await listener.open(self._partitions):
                for topic, number, fetched in self._brought:
                    assert listener.may_fetch(topic, number)
                    await listener.receive(topic, number, fetched)
                while served == self.rejoined and not self._stopped:
                    await self._changed.wait()
                    self._changed.clear()
            await listener.release()
            if isinstance(self.failure, GateError):
                raise self.failure

    async def stop(self) -> None:
        self._stopped = True
        self._changed.set()

    async def rejoin(self) -> None:
        self.rejoined += 1
        self._changed.set()

    async def fail(self, error: BaseException) -> None:
        self.failure = error
        await self.stop()
