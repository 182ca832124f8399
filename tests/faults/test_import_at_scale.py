"""A million rows of consents come in quickly and in little memory, through `kill -9` and a broker that dies."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from tests.conftest import FreshKafka
from tests.faults.conftest import Figures, NewInstallation
from tests.support.clients import read_all
from tests.support.workers import PATIENCE, Installation

pytestmark = pytest.mark.long

_ROWS: Final = 1_000_000
_MB: Final = 1 << 20
#: Every so many rows hold a withdrawal, too.
_WITHDRAWN: Final = 20
_SAMPLE: Final = Path(__file__).parents[2] / "examples" / "consents"


def written(folder: Path, rows: int) -> Path:
    """A file of the shape of the sample."""
    file = folder / "crm.csv"
    with file.open("w", encoding="utf-8") as opened:
        opened.write((_SAMPLE / "crm-export.csv").read_text(encoding="utf-8").splitlines()[0] + "\n")
        for number in range(1, rows + 1):
            at = f"{1 + number % 28:02}/09/2026 {number % 24:02}:{number % 60:02}"
            out = f"30/09/2026 {number % 24:02}:{number % 60:02}" if number % _WITHDRAWN == 0 else ""
            opened.write(f"{number};n-2026-09;l-3;{at};1;{number % 2};acme-assurances|lumen-telecom;{out};\n")
    return file


class Run:
    """An import in a process of its own."""

    def __init__(self, place: Installation, file: Path, *options: str) -> None:
        self.checkpoint = file.with_name(f"{file.name}.import.json")
        mapping = str(_SAMPLE / "crm-mapping.yaml")
        command = [
            sys.executable,
            "-m",
            "transfer_gate",
            "consent",
            "import",
            str(file),
            "--mapping",
            mapping,
            *options,
        ]
        self._messages = (file.parent / "messages").open("w+b")
        self.process = subprocess.Popen(
            command, env=place._environment, stdout=self._messages, stderr=self._messages, stdin=subprocess.DEVNULL
        )
        self.began, self.most_bytes = time.monotonic(), 0

    def rows(self) -> int:
        """How far it has come."""
        if not self.checkpoint.exists():
            return 0
        rows: int = json.loads(self.checkpoint.read_bytes())["counts"]["rows"]
        return rows

    def until(self, rows: int) -> None:
        """Wait until it has come so far."""
        deadline = time.monotonic() + 10 * PATIENCE
        while self.rows() < rows:
            assert self.process.poll() is None, self.messages()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def ended(self) -> tuple[int, float]:
        """Wait until it ends; returns its exit code, and how many seconds of a processor it took."""
        process, seconds = psutil.Process(self.process.pid), 0.0
        while self.process.poll() is None:
            try:
                used = process.cpu_times()
                seconds = used.user + used.system
                self.most_bytes = max(self.most_bytes, process.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.1)
        return self.process.wait(), seconds

    def messages(self) -> str:
        """All that it printed."""
        self._messages.seek(0)
        return self._messages.read().decode()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._messages.close()


@contextmanager
def started(place: Installation, file: Path, *options: str) -> Iterator[Run]:
    run = Run(place, file, *options)
    try:
        yield run
    finally:
        run.close()


async def counted(place: Installation) -> Counter[tuple[str, str]]:
    """How often each event stands on the topic, by prospect and type."""
    found: Counter[tuple[str, str]] = Counter()
    async for record in read_all(place.bootstrap_servers, [place.topics.consents], place.partitions):
        body: dict[str, Any] = json.loads(record.value or b"")
        found[body["prospect_id"], body["type"]] += 1
    return found


async def test_a_million_rows_come_in_quickly_and_in_little_memory(
    bootstrap_servers: str, new_installation: NewInstallation, tmp_path: Path, figures: Figures
) -> None:
    place = new_installation(bootstrap_servers, partitions=6)
    file = written(tmp_path, _ROWS)
    with started(place, file) as run:
        code, seconds = await asyncio.to_thread(run.ended)
        took = time.monotonic() - run.began
        assert code == 0, run.messages()
    figures(
        rows_a_second=round(_ROWS / took),
        rows_a_processor_second=round(_ROWS / seconds),
        memory_mb=run.most_bytes // _MB,
    )
    assert run.most_bytes < 200 * _MB
    found = await counted(place)
    assert (len(found), found.total()) == (_ROWS + _ROWS // _WITHDRAWN,) * 2


async def test_a_dry_run_says_in_little_memory_who_would_change(
    bootstrap_servers: str, new_installation: NewInstallation, tmp_path: Path, figures: Figures
) -> None:
    """Half of the people are known already, by events that no gate has applied yet."""
    place = new_installation(bootstrap_servers, partitions=6)
    known, rows = _ROWS // 4, _ROWS // 2
    with started(place, written(tmp_path, known)) as run:
        assert (await asyncio.to_thread(run.ended))[0] == 0, run.messages()
    with started(place, written(tmp_path, rows), "--dry-run", "--output", "json") as run:
        code, _ = await asyncio.to_thread(run.ended)
        took = time.monotonic() - run.began
        assert code == 0, run.messages()
        forecast = json.loads(run.messages().partition("\nnothing was sent")[0])
    figures(rows_a_second=round(rows / took), memory_mb=run.most_bytes // _MB)
    assert forecast["prospects"] == {"prospects": rows, "changed": rows - known, "new": rows - known}
    assert run.most_bytes < 300 * _MB


async def test_kills_and_a_broker_that_dies_lose_nothing_and_repeat_a_chunk_each(
    fresh_kafka: FreshKafka, new_installation: NewInstallation, tmp_path: Path, figures: Figures
) -> None:
    broker = await asyncio.to_thread(fresh_kafka)
    place = new_installation(broker.bootstrap_servers, partitions=6)
    rows, chunk = 300_000, 10_000
    file = written(tmp_path, rows)
    for until in (50_000, 120_000):
        with started(place, file) as run:
            await asyncio.to_thread(run.until, until)
            run.process.kill()
            run.process.wait()
    with started(place, file) as run:
        await asyncio.to_thread(run.until, 180_000)
        await asyncio.to_thread(broker.kill)
        code, _ = await asyncio.to_thread(run.ended)
        assert code == 6, run.messages()
        assert "run the same command to go on" in run.messages()
    await asyncio.to_thread(broker.start)
    with started(place, file) as run:
        code, _ = await asyncio.to_thread(run.ended)
        assert code == 0, run.messages()
    found = await counted(place)
    assert len(found) == rows + rows // _WITHDRAWN
    repeated = found.total() - len(found)
    figures(rows=rows, repeated_events=repeated)
    assert repeated <= 3 * (chunk + chunk // _WITHDRAWN)
