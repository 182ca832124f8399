"""What retention took away before the gate had decided it: nobody can decide it any more, but somebody must know."""

import logging
from collections.abc import Mapping

from transfer_gate.observe import metrics
from transfer_gate.stream.lag import Lag
from transfer_gate.stream.transaction import Committed

logger = logging.getLogger(__name__)


class Deleted:
    """Tells of offsets of some input topics that are gone undecided when a partition is taken over, of each once in the
    life of this worker.

    Control and aborted records are counted too: what stood at an offset that is gone, nobody can know.
    """

    def __init__(self, lag: Lag, topics: tuple[str, ...]) -> None:
        self._lag = lag
        self._topics = topics
        #: By topic and partition: offsets below this one were told.
        self._told: dict[tuple[str, int], int] = {}

    async def tell(self, committed: Mapping[int, Mapping[str, Committed]]) -> None:
        """Compare what the group has committed of each partition with what its topics still hold.

        Where nothing is committed, nobody stood before what is gone. A broker that does not tell holds nothing up.
        """
        for topic in self._topics:
            begins = await self._lag.begins(topic, set(committed))
            for number, begin in begins.items():
                reached = committed[number].get(topic)
                first = max(reached.offset, self._told.get((topic, number), 0)) if reached else begin
                if first >= begin:
                    continue
                self._told[topic, number] = begin
                metrics.DELETED_UNDECIDED.inc(begin - first)
                logger.error(
                    "records were deleted before they were decided: have their source send them again",
                    extra={"topic": topic, "partition": number, "first": first, "last": begin - 1},
                )
