"""Starts the gate with a decision that keeps the event loop busy until the test lets it end. Test only.

The files `busy` and `go-on` stand in the worker's data folder.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from transfer_gate.cli import main
from transfer_gate.gate.barrier import Taken
from transfer_gate.gate.inbox import Record
from transfer_gate.gate.partition import Partition

_work: Final = Partition._rest_back


def _slowly(self: Partition, topic: str, taken: Taken, work: Callable[[Sequence[Record]], int]) -> Taken:
    if topic != self._book.transfers:
        return _work(self, topic, taken, work)
    folder = Path(os.environ["TRANSFER_GATE_DATA_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "busy").touch()
    while not (folder / "go-on").exists():  # at full speed, as a long computation
        pass
    return _work(self, topic, taken, work)


Partition._rest_back = _slowly  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
