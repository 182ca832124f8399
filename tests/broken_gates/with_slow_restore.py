"""Starts the gate with a restore that takes longer than its session, as that of a large table would. Test only."""

import asyncio
from typing import Final

from transfer_gate.cli import main
from transfer_gate.gate.takeover import TakenOver, TakeOver

_take_over: Final = TakeOver.run


async def _slowly(self: TakeOver, numbers: set[int]) -> TakenOver:
    await asyncio.sleep(2 * self._settings.session_timeout_seconds)
    return await _take_over(self, numbers)


TakeOver.run = _slowly  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
