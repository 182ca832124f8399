"""Every command that needs a cluster, where there is none: one message, its exit code, and no client left open."""

import base64
import gc
import logging
import shlex
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from tests.support.command_line import CommandLine
from transfer_gate.cli import cli
from transfer_gate.records.sealing import KEY_BYTES, master_key_id

#: Nobody listens there, and the kernel says so at once.
NOBODY: Final = "127.0.0.1:1"
ID: Final = str(uuid.UUID(int=7))
#: The current master key of the key file, and the one below it.
KEYS: Final = (b"a" * KEY_BYTES, b"b" * KEY_BYTES)
WHY: Final = "--why 'asked for by T-1'"
EXAMPLES: Final = Path(__file__).parents[3] / "examples"
REGISTRY: Final = EXAMPLES / "registry"
IMPORTED: Final = EXAMPLES / "consents" / "crm-export.csv"
MAPPING: Final = EXAMPLES / "consents" / "crm-mapping.yaml"

NEED_A_BROKER: Final = (
    "audit",
    f"consent import {IMPORTED} --mapping {MAPPING} --work-dir .",
    f"consent import {IMPORTED} --mapping {MAPPING} --dry-run",
    f"consent resolve --prospect p-1 --offset 3 --yes {WHY}",
    f"consent resolve --quarantine-id {ID} --yes {WHY}",
    "consent tail",
    "consent unreadable",
    f"consent unreadable --reveal {WHY}",
    "doctor",
    f"key promote {master_key_id(KEYS[1])}",
    "key rotate",
    "key status",
    f"policy explain --decision {ID}",
    "quarantine discard --partner acme --dry-run",
    f"quarantine discard {ID} {WHY}",
    f"quarantine explain {ID}",
    f"quarantine explain {ID} --reveal {WHY}",
    "quarantine export out.jsonl",
    "quarantine list",
    "quarantine list --counts --since 2h",
    f"quarantine list --reveal {WHY}",
    f"quarantine show {ID}",
    f"quarantine show {ID} --reveal {WHY}",
    f"replay approve {ID}",
    f"replay cancel {ID} {WHY}",
    "replay plan",
    f"replay run {ID}",
    f"replay status {ID}",
    "sample --like 0:0-10",
    "topics apply",
    "topics grow --partitions 4",
    "verify",
    "worker",
)
#: Those that never ask a cluster, or start one.
NEED_NONE: Final = (
    "completion ",
    "demo",
    # The service itself waits for the brokers: tests/faults/test_ingest.py.
    "ingest test",
    "init ",
    "kafka ",
    "key new",
    "partner new",
    "policy test",
    "registry ",
    "schema ",
)
#: Input that no cluster could make right.
WRONG: Final = (
    f"consent import {IMPORTED} --mapping {IMPORTED}",
    f"consent import {MAPPING} --mapping {MAPPING}",
    "consent resolve --quarantine-id xyz --yes --why x",
    "key promote 0",
    "policy explain --decision d-1 --at yesterday",
    "quarantine discard xyz --why x",
    "quarantine explain xyz",
    "quarantine list --after xyz",
    "quarantine show xyz",
    "replay approve xyz",
    "replay cancel xyz --why x",
    "replay run xyz",
    "replay run plans/none.json",
    "replay status xyz",
    "sample --like 0:9-3",
)


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[CommandLine]:
    monkeypatch.chdir(tmp_path)
    keys = tmp_path / "keys"
    keys.write_text("".join(f"{base64.b64encode(key).decode()}\n" for key in KEYS), encoding="utf-8")
    keys.chmod(0o600)
    for name, value in {
        "BOOTSTRAP_SERVERS": NOBODY,
        "REGISTRY": REGISTRY,
        "DATA_DIR": tmp_path / "data",
        "OPERATOR": "test",
        "QUARANTINE_KEY_FILE": keys,
        "METRICS_PORT": 0,
    }.items():
        monkeypatch.setenv(f"TRANSFER_GATE_{name}", str(value))
    before = logging.getLogger("aiokafka").level
    yield CommandLine(monkeypatch, capsys)
    logging.getLogger("aiokafka").setLevel(before)


@pytest.mark.parametrize("line", NEED_A_BROKER)
def test_a_command_without_a_broker_says_so_once_and_leaves_nothing_open(
    line: str, command: CommandLine, caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ResourceWarning)
        code, out, err = command(*shlex.split(line))
        gc.collect()  # an unstopped client complains when it is thrown away
    assert code == 6, err
    assert NOBODY in out + err
    assert err.count("what to do:") == 1
    assert "Traceback" not in err
    assert [str(one.message) for one in warned if "Unclosed" in str(one.message)] == []
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong_is_told_before_a_broker_is_asked(line: str, command: CommandLine) -> None:
    code, out, err = command(*shlex.split(line))
    assert (code, out) == (2, ""), err
    assert "Traceback" not in err
    assert NOBODY not in err


def test_no_command_is_forgotten_here() -> None:
    forgotten = [
        name for name in commands(cli, "") if not any(f"{line} ".startswith(f"{name} ") for line in NEED_A_BROKER)
    ]
    assert [name for name in forgotten if not f"{name} ".startswith(NEED_NONE)] == []


def commands(group: click.Group, path: str) -> Iterator[str]:
    """Every command that is no group, as it is typed."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from commands(found, f"{path}{name} ")
        elif found is not None:
            yield f"{path}{name}"
