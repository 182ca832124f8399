"""What a user can cause ends in one message and a documented exit code, also where the output goes nowhere."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

CASES: Final = Path(__file__).parents[2] / "cases" / "shared"


def test_output_that_can_not_be_written_is_told_without_a_traceback() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        command = [sys.executable, "-m", "transfer_gate", "policy", "test", str(CASES)]
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == "transfer-gate: the output can't be written: No space left on device\n"


@pytest.mark.parametrize("arguments", [["no-such-command"], ["verify", "--no-such-option"], ["policy", "test"]])
def test_a_wrong_call_is_a_usage_error(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "transfer_gate", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert run.stderr
