"""What is remembered about a local broker between commands: its ports, its release, and which process it is."""

import os
from pathlib import Path
from typing import Final

import msgspec
import psutil

FILE: Final = "broker.json"

#: Seconds that a start time may move when the wall clock is corrected; pids are not reused that fast.
_CLOCK_STEP: Final = 2.0


class Seat(msgspec.Struct, frozen=True):
    """The place of a broker in a cluster: its node id, and the controller port of every node."""

    node: int
    cluster_id: str
    controllers: dict[int, int]


class BrokerRecord(msgspec.Struct, frozen=True):
    """Content of `broker.json`. `pid` and `started` (Unix seconds) are absent while it is meant to be stopped."""

    port: int
    controller_port: int
    pid: int | None = None
    started: float | None = None
    #: Where the class archive goes that it writes when it ends.
    archive: str | None = None
    #: None for a broker on its own.
    seat: Seat | None = None
    #: The release of Apache Kafka that it runs, or ran last.
    kafka: str | None = None

    def save(self, folder: Path) -> None:
        """Replace the file in one step, so that a reader never meets half of it."""
        new = folder / f"{FILE}.{os.getpid()}.new"
        new.write_bytes(msgspec.json.encode(self))
        new.replace(folder / FILE)

    def process(self, mark: str) -> psutil.Process | None:
        """The process, when it still runs and is the one that was started: same pid, start time and `mark` argument."""
        if self.pid is None or self.started is None:
            return None
        try:
            process = psutil.Process(self.pid)
            alive = process.status() != psutil.STATUS_ZOMBIE
            same = abs(process.create_time() - self.started) < _CLOCK_STEP and mark in process.cmdline()
        except psutil.Error:
            return None
        return process if alive and same else None


def load(folder: Path) -> BrokerRecord | None:
    """The record of `folder`; None when there is none, or none that can be read."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=BrokerRecord)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
