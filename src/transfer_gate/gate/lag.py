"""How far the committed offsets are behind the high watermarks of the input topics."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from transfer_gate.kafka.watermarks import Watermarks
from transfer_gate.observe.tracebacks import brief

logger = logging.getLogger(__name__)

ASK_SECONDS: Final = 5.0


class Lag:
    """Asks for high watermarks now and then, on connections that no decision waits for."""

    def __init__(self, options: Mapping[str, Any], topics: Collection[str]) -> None:
        self._marks = {topic: Watermarks(options, topic) for topic in topics}
        self._begins: dict[tuple[str, int], int] = {}
        self._ends: dict[tuple[str, int], int] = {}
        self._following: asyncio.Task[None] | None = None

    async def start(self, partitions: Callable[[], Collection[int]]) -> None:
        """Connect, and follow the `partitions` of the moment. Raises aiokafka's connection errors."""
        await asyncio.gather(*(marks.start() for marks in self._marks.values()))
        self._following = asyncio.create_task(self._follow(partitions))

    async def close(self) -> None:
        """Disconnect."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        await asyncio.gather(*(marks.close() for marks in self._marks.values()))

    async def begins(self, topic: str, partitions: set[int]) -> dict[int, int]:
        """First offset that each partition holds now; nothing when the broker does not tell in time."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self._marks[topic].begins(partitions)
        except TimeoutError:
            return {}

    def behind(self, topic: str, partition: int, position: int | None) -> int | None:
        """Offsets from `position`, by default the first that is held, to the end; None while the broker can't tell."""
        end, begin = self._ends.get((topic, partition)), self._begins.get((topic, partition), 0)
        return None if end is None else max(0, end - (begin if position is None else position))

    async def _follow(self, partitions: Callable[[], Collection[int]]) -> None:
        while True:
            numbers = set(partitions())
            await asyncio.gather(*(self._ask(topic, numbers) for topic in self._marks))
            await asyncio.sleep(ASK_SECONDS if numbers else ASK_SECONDS / 10)

    async def _ask(self, topic: str, numbers: set[int]) -> None:
        marks = self._marks[topic]
        told: dict[tuple[str, int], int] = {}
        try:
            async with asyncio.timeout(ASK_SECONDS):
                if unknown := {number for number in numbers if (topic, number) not in self._begins}:
                    begins = await marks.begins(unknown)
                    self._begins |= {(topic, number): begin for number, begin in begins.items()}
                ordered = sorted(numbers)
                ends = await asyncio.gather(*(marks.end(number) for number in ordered))
                told = {(topic, number): end for number, end in zip(ordered, ends, strict=True)}
        except Exception as error:  # noqa: BLE001 - whoever only watches must not end
            # Better no lag than one of a while ago.
            logger.warning("how far behind a topic is can't be told", extra={"topic": topic, "error": brief(error)})
        self._ends = {place: end for place, end in self._ends.items() if place[0] != topic} | told
