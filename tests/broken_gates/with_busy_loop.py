"""Starts the gate with a decision that keeps the event loop busy until the test lets it end. Test only.

The files `busy` and `go-on` stand in the worker's data folder.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from transfer_gate.cli import main
from transfer_gate.gate.inbox import Fetched, Inbox, Record
from transfer_gate.gate.partition import Partition

_part: Final = Partition._take_part


def _slowly(
    self: Partition, taken: Fetched | None, inbox: Inbox, work: Callable[[Sequence[Record]], int]
) -> Fetched | None:
    if taken is None or inbox is not self.inboxes.transfers:
        return _part(self, taken, inbox, work)
    folder = Path(os.environ["TRANSFER_GATE_DATA_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "busy").touch()
    while not (folder / "go-on").exists():  # at full speed, as a long computation
        pass
    return _part(self, taken, inbox, work)


Partition._take_part = _slowly  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
