"""Starts the gate with a restore that takes longer than its session, as that of a large table would. Test only."""

import asyncio
from typing import Any, Final

from transfer_gate.cli import main
from transfer_gate.stream.gate import Gate

_take_over: Final = Gate._take_over


async def _slowly(self: Gate, numbers: set[int]) -> Any:
    await asyncio.sleep(2 * self._settings.session_timeout_seconds)
    return await _take_over(self, numbers)


Gate._take_over = _slowly  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
