"""`consent import` and `consent tail` on a real broker: every event once acknowledged, wherever it was killed."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import pytest

from tests.support.clients import partition_of, read_all
from tests.support.command_line import CommandLine
from tests.support.processes import running
from transfer_gate.gate.inbox import Record
from transfer_gate.kafka.topics import apply_topics
from transfer_gate.model.registry import Registry
from transfer_gate.model.state import EMPTY, ProspectState
from transfer_gate.policy.fold import fold
from transfer_gate.records.consents import decode_consent
from transfer_gate.settings import Settings

EXAMPLES: Final = Path(__file__).parents[3] / "examples"
SAMPLE: Final = (EXAMPLES / "consents" / "crm-export.csv", "--mapping", EXAMPLES / "consents" / "crm-mapping.yaml")
MAPPING: Final = """\
source: crm
times: {zone: Europe/Paris, format: "%Y-%m-%d %H:%M"}
events:
  - name: only
    fields:
      type: {column: kind}
      prospect_id: {column: id}
      event_time: {column: at}
"""
PATIENCE: Final = 60.0


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environment: dict[str, str]
) -> CommandLine:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return CommandLine(monkeypatch, capsys, "consent")


def written(tmp_path: Path, lines: Sequence[str]) -> tuple[object, ...]:
    """A file and its mapping, as arguments."""
    file, mapping = tmp_path / "crm.csv", tmp_path / "mapping.yaml"
    file.write_text("kind,id,at\n" + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    mapping.write_text(MAPPING, encoding="utf-8")
    return file, "--mapping", mapping


async def _all(settings: Settings, topic: str, partitions: int) -> list[Record]:
    return [record async for record in read_all(settings.bootstrap_servers, [topic], partitions)]


def consents(settings: Settings, partitions: int = 2) -> list[Record]:
    return asyncio.run(_all(settings, settings.topics.consents, partitions))


def acts(settings: Settings) -> list[dict[str, Any]]:
    """What the audit topic holds."""
    return [json.loads(record.value or b"") for record in asyncio.run(_all(settings, settings.topics.audit, 1))]


def topics_of(settings: Settings, registry: Registry) -> None:
    asyncio.run(apply_topics(settings, registry))


def test_the_sample_is_imported_audited_and_its_wrong_row_stands_beside_it(
    run: CommandLine, settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    topics_of(settings, registry)
    code, out, err = run("import", *SAMPLE, "--work-dir", tmp_path, "--dry-run")
    assert code == 4
    assert [line.split() for line in out.splitlines()] == [
        ["rows", "6"],
        ["consent", "3"],
        ["erasure", "1"],
        ["withdrawal", "1"],
        ["passed", "over", "2"],
        ["rejected", "1"],
        ["prospects", "3"],
        ["would", "change", "3"],
        ["of", "these", "new", "3"],
    ]
    assert "row 6, column signed_up: event_time: no calendar has this time" in err
    assert (consents(settings), acts(settings), list(tmp_path.iterdir())) == ([], [], [])
    code, _, err = run("import", *SAMPLE, "--work-dir", tmp_path, "--why", "the CRM is shut down")
    assert code == 4
    assert "1 of 6 rows were rejected\n" in err
    assert "10006" not in err
    rejected = tmp_path / "crm-export.rejected.csv"
    assert stat.S_IMODE(rejected.stat().st_mode) == 0o600
    _, line = rejected.read_text(encoding="utf-8").splitlines()
    assert line.startswith("6;event_time: no calendar has this time (column signed_up);10006;n-2026-09;")
    records = consents(settings)
    assert sorted((record.key, json.loads(record.value or b"")["type"]) for record in records) == [
        (b"10001", "consent"),
        (b"10002", "consent"),
        (b"10002", "withdrawal"),
        (b"10003", "consent"),
        (b"10003", "erasure"),
    ]
    assert all(record.partition == partition_of(record.key or b"", 2) for record in records)
    started, ended = acts(settings)
    assert (started["action"], started["outcome"], ended["outcome"]) == ("consent import", "started", "done")
    assert ended["why"] == "the CRM is shut down"
    assert (ended["details"]["rows"], ended["details"]["rejected"]) == (6, 1)
    code, _, err = run("import", *SAMPLE, "--work-dir", tmp_path)
    assert (code, "is imported already: 6 rows" in err) == (3, True)
    rejected.write_text(rejected.read_text(encoding="utf-8").replace("31/09", "30/09"), encoding="utf-8")
    code, out, _ = run("import", rejected, *SAMPLE[1:], "--work-dir", tmp_path, "--output", "json")
    assert (code, json.loads(out)["events"]) == (0, {"consent": 1})


def test_killed_in_the_middle_it_goes_on_and_repeats_one_chunk_at_most(
    run: CommandLine, settings: Settings, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    """Nothing is lost, the states are those of one run, and a changed file or mapping is refused."""
    topics_of(settings, registry)
    rows, chunk = 6_000, 100
    kinds = ("withdrawal", "objection", "restriction", "restriction_lifted", "erasure")
    lines = [f"{kinds[number % 5]},p-{number % 2000},2026-0{1 + number % 9}-01 10:00" for number in range(rows)]
    lines[4000] = "withdrawal,p-1,soon"
    arguments = [*written(tmp_path, lines), "--chunk-rows", chunk]
    checkpoint = tmp_path / "crm.csv.import.json"
    command = [sys.executable, "-m", "transfer_gate", "consent", "import", *map(str, arguments)]
    with (
        (tmp_path / "log").open("wb") as log,
        running(command, env=os.environ | environment, stdout=log, stderr=log) as process,
    ):
        deadline = time.monotonic() + PATIENCE
        while not checkpoint.exists() or json.loads(checkpoint.read_bytes())["counts"]["rows"] < 5 * chunk:
            assert process.poll() is None, (tmp_path / "log").read_text(encoding="utf-8")
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
    noted = json.loads(checkpoint.read_bytes())
    assert not noted["finished"]
    file = Path(str(arguments[0]))
    content = file.read_bytes()
    file.write_bytes(content + b"erasure,p-2001,2026-01-01 10:00\n")
    code, _, err = run("import", *arguments)
    assert (code, "the file has changed" in err) == (5, True)
    file.write_bytes(content)
    code, out, err = run("import", *arguments, "--output", "json")
    assert code == 4, err
    counts = json.loads(out)
    assert counts["resumed_after"] == noted["counts"]["rows"]
    assert (counts["rows"], counts["rejected"], counts["rejected_may_forbid"]) == (rows, 1, 1)
    assert f"goes on after row {noted['counts']['rows']:,}" in err
    assert len((tmp_path / "crm.rejected.csv").read_text(encoding="utf-8").splitlines()) == 2
    records = consents(settings)
    values = Counter(record.value for record in records)
    wanted = {(line.split(",")[0], line.split(",")[1], line.split(",")[2][:10]) for line in lines if "soon" not in line}
    told = [json.loads(value or b"") for value in values]
    assert {(one["type"], one["prospect_id"], one["event_time"][:10]) for one in told} == wanted
    # Rows that say the same have the same id: what is more than the file has is repeated, at most one chunk of it.
    assert 0 <= len(records) - (rows - 1) <= chunk
    assert folded(records) == folded({record.value: record for record in records}.values())


def folded(records: Any) -> dict[bytes, ProspectState]:
    states: dict[bytes, ProspectState] = {}
    for record in records:
        states[record.key] = fold(states.get(record.key, EMPTY), decode_consent(record.value, record.key), 0)
    return states


def test_keys_are_placed_as_the_partitioner_says(
    run: CommandLine, settings: Settings, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSFER_GATE_PARTITIONER", "crc32")
    topics_of(settings, registry)
    lines = [f"erasure,p-{number},2026-01-01 10:00" for number in range(50)]
    assert run("import", *written(tmp_path, lines))[0] == 0
    records = consents(settings)
    assert len(records) == 50
    assert all(record.partition == crc32(record.key or b"") % 2 for record in records)


def test_what_can_not_be_imported_is_told_before_anything_is_sent(
    run: CommandLine, settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    arguments = written(tmp_path, ["erasure,p-1,2026-01-01 10:00"])
    code, _, err = run("import", *arguments)
    assert (code, f"no topic {settings.topics.consents}" in err) == (2, True)
    topics_of(settings, registry)
    mapping = Path(str(arguments[2]))
    mapping.write_text(MAPPING.replace("column: id", "column: ident"), encoding="utf-8")
    code, _, err = run("import", *arguments)
    assert (code, "mapping.yaml:7: events[0].fields.prospect_id: column ident is not in crm.csv" in err) == (2, True)
    empty = written(tmp_path, [])
    assert run("import", *empty)[0] == 3
    assert consents(settings) == []


def test_tail_shows_events_as_they_come_and_names_nobody(
    run: CommandLine, settings: Settings, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    topics_of(settings, registry)
    assert run("import", *written(tmp_path, ["erasure,p-old,2026-01-01 10:00"]))[0] == 0
    command = [sys.executable, "-m", "transfer_gate", "consent", "tail", "--output", "jsonl"]
    with running(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        deadline = time.monotonic() + PATIENCE
        number = 0
        seen: list[str] = []
        os.set_blocking(process.stdout.fileno(), False)  # it prints nothing until something comes
        while not seen and time.monotonic() < deadline:
            folder = tmp_path / str(number)
            folder.mkdir()
            assert run("import", *written(folder, [f"withdrawal,claire{number},2026-02-01 10:00"]))[0] == 0
            number += 1
            seen = process.stdout.readlines()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    first = json.loads(seen[0])
    assert first["event"]["type"] == "withdrawal"
    assert first["event"]["prospect_id"] == "***"
    assert "claire" not in seen[0]
    code, out, _ = run("tail", "--from-beginning", "--limit", "1")
    header, line = out.splitlines()
    assert (code, header.split()[:2]) == (0, ["event", "at"])
    assert line.split()[2] in ("erasure", "withdrawal")
    assert "p-old" not in out
