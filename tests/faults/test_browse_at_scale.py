"""Commands that look through a quarantine of any size take little memory, and read no more than times ask for."""

import asyncio
import datetime as dt
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from pyarrow import parquet

from tests.faults.conftest import Figures
from tests.support.quarantine_backlog import Backlog, keep_times
from tests.support.quarantine_gate import settings_at
from tests.support.workers import Installation
from transfer_gate.kafka.session import open_session
from transfer_gate.quarantine.search import Filter, look

_SPAN: Final = dt.timedelta(hours=48)
_SINCE: Final = dt.timedelta(hours=2)
_MB: Final = 1 << 20
_KEPT: Final = 1 << 18
_PARTITIONS: Final = 4
#: So much more of the ledger is read.
_CLOCKS: Final = dt.timedelta(hours=1)
#: Of so many offsets, says the bar.
_TOTAL: Final = re.compile(r"[0-9]+/([0-9]+)")
#: A list reads the ledger of its first partition, then it writes: whatever else there is.
_FIRST_SECONDS: Final = 15.0


class Ran(NamedTuple):
    """A command that succeeded: the end of what it printed, and how many lines; its messages; its seconds to the first
    output and to its end; its peak of memory."""

    out: bytes
    lines: int
    err: str
    first: float
    seconds: float
    most_bytes: int


@pytest.mark.parametrize("records", [20_000, pytest.param(1_000_000, marks=pytest.mark.long)])
async def test_quarantine_of_any_size_is_looked_through_in_little_memory(
    bootstrap_servers: str, registry: Path, now: dt.datetime, tmp_path: Path, records: int, figures: Figures
) -> None:
    place = Installation(bootstrap_servers, registry, tmp_path, partitions=_PARTITIONS)
    await keep_times(place)
    place.apply_topics()
    backlog = Backlog(place, records // _PARTITIONS, now, _SPAN)
    await backlog.write()
    recent = [number for number in range(backlog.each) if backlog.time_ms(number) >= _ms(now - _SINCE)]

    held = await _ran(place, "list", "--counts", "--output", "json")
    since = (now - _SINCE).isoformat()
    latest = await _ran(place, "list", "--counts", "--output", "json", "--since", since, "--progress")
    listed = await _ran(place, "list", "--output", "jsonl")
    shown = await _ran(place, "show", backlog.quarantine_id(_PARTITIONS - 1, backlog.each - 1), "--output", "json")
    lines = await _ran(place, "export", str(tmp_path / "held.jsonl"), "--progress")
    columns = await _ran(place, "export", str(tmp_path / "held.parquet"), "--format", "parquet", "--open-only")
    commands = (held, latest, listed, shown, lines, columns)
    most_mb = max(one.most_bytes for one in commands) // _MB
    figures(
        counts_seconds=round(held.seconds, 1),
        since_seconds=round(latest.seconds, 1),
        list_seconds=round(listed.seconds, 1),
        list_first_seconds=round(listed.first, 1),
        jsonl_seconds=round(lines.seconds, 1),
        jsonl_mb=lines.most_bytes // _MB,
        parquet_seconds=round(columns.seconds, 1),
        parquet_mb=columns.most_bytes // _MB,
        most_mb=most_mb,
    )

    assert _totals(held) == {"records": backlog.records, "open": backlog.records // 2}
    assert _totals(latest) == {
        "records": _PARTITIONS * len(recent),
        "open": _PARTITIONS * sum(number % 2 == 0 for number in recent),
    }
    passed = {int(total) for total in _TOTAL.findall(latest.err)}
    assert passed == {_PARTITIONS * len(recent)}, "more than the tail was read"
    assert {int(total) for total in _TOTAL.findall(lines.err)} == {backlog.records}
    async with open_session(settings_at(place)) as session:
        view = await look(session, Filter(since=now - _SINCE))
    older = sum(told_ms < _ms(now - _SINCE - _CLOCKS) for told_ms in backlog.told_ms())
    assert view.ledger_starts == dict.fromkeys(range(_PARTITIONS), older)
    assert older > 0.9 * backlog.each / 2
    assert listed.lines == backlog.records
    assert listed.first < _FIRST_SECONDS
    assert json.loads(shown.out)["state"] == backlog.state(backlog.each - 1)
    with (tmp_path / "held.jsonl").open("rb") as file:
        assert sum(1 for _ in file) == backlog.records
    assert parquet.read_metadata(tmp_path / "held.parquet").num_rows == backlog.records // 2
    (tmp_path / "held.jsonl").unlink()  # pytest keeps the folders of three runs, and this is a gigabyte
    assert most_mb < 300


def _ms(at: dt.datetime) -> int:
    return int(at.timestamp() * 1000)


def _totals(counted: Ran) -> dict[str, int]:
    rows = json.loads(counted.out)["counts"]
    return {name: sum(row[name] for row in rows) for name in ("records", "open")}


#: Runs Python with the arguments behind the first, and writes its peak of memory, in KiB, to the file of that name. The
#: system counts the peak of whoever starts a process as the process's own: this one is small, pytest is not.
_LAUNCH: Final = """
import os, sys
process = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[2:]], os.environ)
_, status, used = os.wait4(process, 0)
with open(sys.argv[1], "w") as peak:
    peak.write(str(used.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


async def _ran(place: Installation, *arguments: str) -> Ran:
    """Run a command of `quarantine`, which must succeed."""

    def run() -> Ran:
        began = time.monotonic()
        peak = place.folder / "peak"
        with (place.folder / "messages").open("w+b") as messages:
            process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, str(peak), "-m", "transfer_gate", "quarantine", *arguments],
                env=place._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=messages,
            )
            assert process.stdout is not None
            out = process.stdout.read(1)
            first = time.monotonic() - began
            lines = 0
            while chunk := process.stdout.read(1 << 16):
                lines += chunk.count(b"\n")
                out = (out + chunk)[-_KEPT:]
            process.stdout.close()
            process.wait()
            seconds = time.monotonic() - began
            messages.seek(0)
            err = messages.read().decode()
        assert process.returncode == 0, err
        return Ran(out, lines, err, first, seconds, int(peak.read_text()) * 1024)

    return await asyncio.to_thread(run)
