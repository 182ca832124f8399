"""Whether a worker gets on: its event loop turns, or a long round decides one record after the other."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from transfer_gate.observe import metrics

BEAT_SECONDS: Final = 0.25


class Pulse:
    """Beats for as long as `beat` runs, and whenever a round looks at its `timer`. Any thread may ask how long it has
    been silent.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: float | None = None

    @property
    def silent(self) -> float:
        """Seconds since the latest beat; 0 before the first."""
        last = self._last
        return max(0.0, self._clock() - last) if last is not None else 0.0

    def timer(self) -> float:
        """Seconds of a clock for rounds, which look at it at every record: that is progress, too."""
        self._last = now = self._clock()
        return now

    async def beat(self) -> None:
        """Measure until cancelled; whoever blocks the loop makes the next beat late."""
        while True:
            due = self.timer() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            metrics.LOOP_LAG_SECONDS.observe(max(0.0, self._clock() - due))
