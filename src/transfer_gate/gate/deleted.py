"""What retention took away before the gate had decided it: nobody can decide it any more, but somebody must know."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from transfer_gate.gate.inbox import Passed
from transfer_gate.gate.lag import Lag
from transfer_gate.kafka.transaction import Committed
from transfer_gate.observe import metrics
from transfer_gate.observe.tracebacks import brief

logger = logging.getLogger(__name__)

#: How often it is asked what the offsets were that a consumer passed over, seconds.
LOOK_SECONDS: Final = 2.0


class _Place(NamedTuple):
    topic: str
    partition: int


class Deleted:
    """Tells of offsets of some input topics that are gone undecided, of each once in the life of this worker.

    They are found when a partition is taken over, and when a consumer finds its place deleted and goes on behind.
    Control and aborted records are counted too: what stood at an offset that is gone, nobody can know. A broker that
    does not tell holds nothing up.
    """

    def __init__(self, lag: Lag, topics: tuple[str, ...]) -> None:
        self._lag = lag
        self._topics = topics
        self._passed: dict[_Place, list[Passed]] = {}
        #: Offsets below this one were told.
        self._told: dict[_Place, int] = {}
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask from now on what was passed over."""
        self._following = asyncio.create_task(self._follow(), name="deleted")

    async def close(self) -> None:
        """Ask no more."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following

    async def tell(self, committed: Mapping[int, Mapping[str, Committed]]) -> None:
        """Compare what the group has committed of each partition with what its topics still hold.

        Where nothing is committed, nobody stood before what is gone.
        """
        for topic in self._topics:
            begins = await self._lag.begins(topic, set(committed))
            for number, begin in begins.items():
                reached = committed[number].get(topic)
                if reached is not None:
                    self._tell(_Place(topic, number), reached.offset, begin)

    def passed(self, topic: str, partition: int, passed: Sequence[Passed]) -> None:
        """Take note of what an inbox passed over; what it was is asked a little later, off the path of decisions."""
        if passed:
            self._passed.setdefault(_Place(topic, partition), []).extend(passed)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for topic in self._topics:
                try:
                    await self._look(topic)
                except Exception as error:  # noqa: BLE001 - whoever only watches must not end
                    logger.warning(
                        "what was passed over of a topic can't be told", extra={"topic": topic, "error": brief(error)}
                    )

    async def _look(self, topic: str) -> None:
        asked = {place.partition for place in self._passed if place.topic == topic}
        if not asked:
            return
        for number, begin in (await self._lag.begins(topic, asked)).items():
            for first, end in self._passed.pop(_Place(topic, number)):
                self._tell(_Place(topic, number), first, min(end, begin))

    def _tell(self, place: _Place, first: int, end: int) -> None:
        first = max(first, self._told.get(place, 0))
        if first >= end:
            return
        self._told[place] = end
        metrics.DELETED_UNDECIDED.inc(end - first)
        logger.error(
            "records were deleted before they were decided: have their source send them again",
            extra={"topic": place.topic, "partition": place.partition, "first": first, "last": end - 1},
        )
