"""Starts the gate with a clock that a test can set, forwards and backwards, while it works. Test only.

The file named by CLOCK_FILE holds by how many seconds the clock is wrong.
"""

import datetime as dt
import os
from pathlib import Path

from transfer_gate.cli import main
from transfer_gate.gate.worker import Worker

_FILE = Path(os.environ["CLOCK_FILE"])


def _wrong_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=float(_FILE.read_text(encoding="ascii")))


Worker.__init__.__kwdefaults__["clock"] = _wrong_now  # type: ignore[index]

if __name__ == "__main__":
    main()
