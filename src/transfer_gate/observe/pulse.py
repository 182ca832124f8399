"""Whether the event loop turns: a pause that should take a quarter of a second, measured again and again."""

import asyncio
from typing import Final

from transfer_gate.observe import metrics

BEAT_SECONDS: Final = 0.25


class Pulse:
    """Beats for as long as `beat` runs; whoever blocks the loop makes it late."""

    def __init__(self) -> None:
        self._due: float | None = None

    @property
    def late(self) -> float:
        """Seconds since the next beat was due; 0 when it is not due yet, or the pulse has not begun."""
        return max(0.0, asyncio.get_running_loop().time() - self._due) if self._due is not None else 0.0

    async def beat(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._due = loop.time() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            metrics.LOOP_LAG_SECONDS.observe(self.late)
