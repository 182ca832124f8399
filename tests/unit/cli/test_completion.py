"""Completion in a real bash: what Tab offers after the script of `transfer-gate completion bash` is loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import CommandLine
from transfer_gate.cli import COMMANDS


@pytest.fixture
def offered_by_bash(tmp_path: Path) -> str:
    """A bash program that loads the script and prints what it offers for the words of its arguments."""
    command = tmp_path / "transfer-gate"
    # As an installed script: click takes the name of the variable from that of the program.
    command.write_text(f"#!{sys.executable}\nfrom transfer_gate.cli import main\nmain()\n", encoding="utf-8")
    command.chmod(0o755)
    return """
        set -eu
        eval "$(transfer-gate completion bash)"
        COMP_WORDS=(transfer-gate "$@") COMP_CWORD=$#
        # What bash calls on Tab is what `complete` has registered.
        complete -p transfer-gate | grep -q -- '-F _transfer_gate_completion'
        _transfer_gate_completion transfer-gate "${COMP_WORDS[$COMP_CWORD]}" transfer-gate
        printf '%s\\n' "${COMPREPLY[@]}"
    """


def offers(program: str, tmp_path: Path, *words: str) -> list[str]:
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    bash = ["bash", "--norc", "-c", program, "bash", *words]
    done = subprocess.run(bash, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_bash_completes_commands_of_every_level_and_options(offered_by_bash: str, tmp_path: Path) -> None:
    assert offers(offered_by_bash, tmp_path, "re") == ["registry", "replay"]
    assert offers(offered_by_bash, tmp_path, "quarantine", "ex") == ["explain", "export"]
    assert offers(offered_by_bash, tmp_path, "registry", "check", "--st") == ["--strict"]
    assert offers(offered_by_bash, tmp_path, "registry", "check", "--output", "") == ["table", "json"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_this_program(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = CommandLine(monkeypatch, capsys)("completion", shell)
    assert code == 0
    assert f"_TRANSFER_GATE_COMPLETE={shell}_complete" in out
    assert "\\" not in out.replace("\\n", ""), "something of the script was escaped"


def test_completing_a_command_imports_none(tmp_path: Path) -> None:
    """Tab must not wait for Faust."""
    program = (
        "import sys; from transfer_gate.cli import cli, main; import click\n"
        "names = [item.value for item in cli.shell_complete(click.Context(cli), '')]\n"
        "assert 'faust' not in sys.modules and 'transfer_gate.cli.services' not in sys.modules\n"
        "print(*names)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert set(COMMANDS) <= set(done.stdout.split())
