"""Runs a command of the gate that kills itself (SIGKILL) in its GROW_KILL_AT-th transaction, just before it ends. Test
only.
"""

import itertools
import os
import signal
from typing import Final

from transfer_gate.cli import main
from transfer_gate.kafka.transaction import TransactionalWriter

_end: Final = TransactionalWriter._end
_numbers: Final = itertools.count(1)


async def _die(self: TransactionalWriter, *, commit: bool = True) -> None:
    if next(_numbers) == int(os.environ["GROW_KILL_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
    await _end(self, commit=commit)


TransactionalWriter._end = _die  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
