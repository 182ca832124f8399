"""`transfer-gate init`: what it lays out holds by the commands that CI then runs, and nothing is ever overwritten."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.support.command_line import CommandLine
from transfer_gate import __version__
from transfer_gate.cli import COMMANDS
from transfer_gate.records.consents import decode_consent
from transfer_gate.records.transfers import decode_transfer
from transfer_gate.settings import PREFIX, load_settings
from transfer_gate.starter import starter_files

LAID_OUT: Final = {
    ".env", ".github/workflows/check.yml", ".gitignore", ".gitlab-ci.yml", "Dockerfile", "README.md",
    "cases/example-partner.yaml", "check.sh", "docker-compose.yml", "registry/notices/n-2026-01.yaml",
    "registry/partners/example-partner.yaml", "registry/policy.yaml", "samples/consent-events.tsv",
    "samples/prospect-transfers.tsv", "wheels/.gitkeep",
}  # fmt: skip


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    """`transfer-gate` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch, capsys)


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_it_prints_what_it_writes(run: CommandLine, tmp_path: Path) -> None:
    code, out, err = run("init", "gate")
    assert code == 0
    assert files_below(tmp_path / "gate") == LAID_OUT
    assert {line.removeprefix("gate/") for line in out.splitlines()} == LAID_OUT
    assert "sh check.sh" in err


def test_the_checks_that_it_lays_out_pass_as_ci_runs_them(run: CommandLine, tmp_path: Path) -> None:
    run("init", "gate")
    programs = tmp_path / "programs"
    programs.mkdir()
    command = programs / "transfer-gate"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m transfer_gate "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}

    def check() -> subprocess.CompletedProcess[str]:
        shell = ["sh", str(tmp_path / "gate" / "check.sh")]
        return subprocess.run(shell, cwd="/", env=environment, capture_output=True, text=True, check=False)

    done = check()
    assert (done.returncode, done.stderr) == (0, "0 errors, 0 warnings\n")
    assert done.stdout.endswith("\n4 passed, 0 failed\n")
    assert (tmp_path / "gate" / "report.xml").is_file()

    partner = tmp_path / "gate" / "registry" / "partners" / "example-partner.yaml"
    partner.write_text(partner.read_text(encoding="utf-8").replace("status: active", "status: suspended"))
    assert check().returncode == 1, "the cases do not hold the registry of the folder"


def test_nothing_is_overwritten_and_nothing_is_written_beside(run: CommandLine, tmp_path: Path) -> None:
    mine = tmp_path / "gate" / "registry" / "policy.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", encoding="utf-8")
    (tmp_path / "gate" / ".env").symlink_to("nowhere")
    code, out, err = run("init", "gate")
    assert (code, out) == (5, "")
    assert "gate/registry/policy.yaml" in err
    assert "gate/.env" in err
    assert mine.read_text(encoding="utf-8") == "mine"
    assert files_below(tmp_path / "gate") == {"registry/policy.yaml"}


def test_a_folder_that_can_not_be_made_is_named(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    code, out, err = run("init", "file/gate")
    assert (code, out) == (2, "")
    assert "file/gate" in err


def test_settings_are_real_ones_also_those_that_wait_behind_a_hash(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("init", ".")
    load_settings()
    written = (tmp_path / ".env").read_text(encoding="utf-8").replace("\n#TRANSFER_GATE_", "\nTRANSFER_GATE_")
    (tmp_path / ".env").write_text(written, encoding="utf-8")
    settings = load_settings()
    assert settings.sasl_mechanism == "SCRAM-SHA-512"
    for service in yaml.safe_load((tmp_path / "docker-compose.yml").read_text(encoding="utf-8"))["services"].values():
        for name, value in service["environment"].items():
            if name.startswith(PREFIX):
                monkeypatch.setenv(name, value)
        assert service.get("command", ["worker"])[0] in COMMANDS
    (tmp_path / ".env").unlink()
    assert load_settings().bootstrap_servers == "kafka:19092"


def test_samples_are_records_that_the_worker_reads(run: CommandLine, tmp_path: Path) -> None:
    """Keyed by their prospect, as kcat and Kafka's console producer send them."""
    run("init", ".")
    events, transfers = (
        [line.split(b"\t") for line in (tmp_path / "samples" / f"{name}.tsv").read_bytes().splitlines()]
        for name in ("consent-events", "prospect-transfers")
    )
    kinds = [type(decode_consent(value, key)).__name__ for key, value in events]
    assert kinds == ["ConsentGiven", "ConsentGiven", "Withdrawal"]
    assert [decode_transfer(value).prospect_id.encode() for _, value in transfers] == [key for key, _ in transfers]


def test_what_pins_a_version_pins_this_one() -> None:
    texts = {str(path): text for path, text in starter_files().items()}
    assert not [path for path, text in texts.items() if "{{" in text.replace("${{", "")]
    for path in (".gitlab-ci.yml", ".github/workflows/check.yml"):
        assert f'pip install "transfer-gate=={__version__}"' in texts[path]
    assert f"VERSION={__version__}\n" in texts["Dockerfile"]
