"""Every command that the docs show exists as it is shown; those that need no broker run, and print what is shown."""

import contextlib
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import click
import pytest

from tests.repository.test_links import PAGES, ROOT
from tests.support.command_line import CommandLine
from transfer_gate.cli import cli

STARTER: Final = ROOT / "src" / "transfer_gate" / "starter" / "files"
#: Pages whose shown outputs are compared, where the command needs no broker.
COMPARED: Final = ("README.md", "docs/how-to/prove-it-to-your-dpo.md", "docs/how-to/wire-a-partner-feed.md")
WITHOUT_A_BROKER: Final = ("policy test", "policy explain --event", "registry check", "--version")

_BLOCK: Final = re.compile(r"^[ ]*```(\w*)\n(.*?)^[ ]*```$", re.MULTILINE | re.DOTALL)
_OF_A_SHELL: Final = ("", "console", "sh", "bash")
#: Where a command begins: a prompt, with who types it, or `docker compose run`; and what sets variables for it.
_PROMPT: Final = re.compile(
    r"^\s*(?:\[\w+\] )?(?:\$ )?((?:[A-Z_]+=\S+ )*)(?:docker compose run (?:--rm )?topics|transfer-gate)(?= |$)"
)
#: What stands for something that is left out.
_LEFT_OUT: Final = "…"


@dataclass(frozen=True)
class Shown:
    """A call of transfer-gate on a page, with the lines of output that follow it."""

    page: str
    words: tuple[str, ...]
    output: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def blocks(page: Path) -> list[str]:
    """What stands in fences for a shell."""
    return [text for language, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if language in _OF_A_SHELL]


def shown(page: Path) -> Iterator[Shown]:
    for block in blocks(page):
        lines = re.sub(r"\\\n\s*", " ", block).splitlines()
        begins = [number for number, line in enumerate(lines) if _PROMPT.match(line)]
        for number, end in pairwise([*begins, len(lines)]):
            words = words_of(lines[number])
            prompted = lines[number].lstrip().startswith(("$", "["))
            yield Shown(str(page.relative_to(ROOT)), words, tuple(lines[number + 1 : end]) if prompted else ())


def words_of(line: str) -> tuple[str, ...]:
    """Arguments of the call, without what the shell keeps to itself."""
    match = _PROMPT.match(line)
    assert match
    lexer = shlex.shlex(line[match.end() :], posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words = list(lexer)
    for mark in ("|", "&&", "||", ";", ">", ">>", "<", "2"):
        if mark in words and (mark != "2" or ">" in words):
            words = words[: words.index(mark)]
    return tuple(words)


def checked(words: tuple[str, ...]) -> None:
    """Parse the words as the program does, without running anything. Raises click.UsageError."""
    context = click.Context(cli, info_name="transfer-gate")
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        if found is None:
            raise click.UsageError(f"no such command: {' '.join(words)}")
        command, context = found, click.Context(found, info_name=rest.pop(0), parent=context)
    if _LEFT_OUT in "".join(rest):
        return
    with contextlib.suppress(click.exceptions.Exit):  # `--help` and `--version` end here
        try:
            command.make_context(command.name, rest, parent=context.parent)
        except click.BadParameter as error:
            if "does not exist" not in error.message:  # a file of the reader's own
                raise


ALL: Final = [found for page in [*PAGES, STARTER / "README.md"] if page.name != "CHANGELOG.md" for found in shown(page)]


def test_commands_are_found() -> None:
    words = {found.words for found in ALL}
    assert ("registry", "check", "--strict", "registry") in words
    assert len(words) > 40


@pytest.mark.parametrize("found", ALL, ids=str)
def test_a_command_that_is_shown_exists_with_its_options(found: Shown) -> None:
    checked(found.words)


@pytest.mark.parametrize(
    "line",
    [
        "transfer-gate nonsense",
        "$ transfer-gate registry nonsense",
        "[odile] $ transfer-gate registry check --nonsense registry   # a comment",
        "docker compose run --rm topics verify --jsno",
        "TRANSFER_GATE_STORE=memory:// transfer-gate quarantine show",
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        checked(words_of(line))


def same(printed: list[str], expected: list[str]) -> bool:
    """Whether the lines are these, where a line `…` stands for any number of them."""
    if not expected:
        return not printed
    if expected[0].strip() == _LEFT_OUT:
        return any(same(printed[skipped:], expected[1:]) for skipped in range(len(printed) + 1))
    return bool(printed) and printed[0] == expected[0] and same(printed[1:], expected[1:])


@pytest.mark.parametrize(
    "found",
    [
        found
        for found in ALL
        if found.page in COMPARED and " ".join(found.words).startswith(WITHOUT_A_BROKER) and found.output
    ],
    ids=str,
)
def test_an_output_that_is_shown_is_what_is_printed(
    found: Shown, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    code, out, _ = CommandLine(monkeypatch, capsys)(*found.words)
    assert code == 0
    assert same(out.splitlines(), [line for line in found.output if line]), out


def test_commands_without_a_shown_output_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder made by `init` that also has the samples of the repository, as in a clone."""
    monkeypatch.chdir(tmp_path)
    run = CommandLine(monkeypatch, capsys)
    assert run("init", ".")[0] == 0
    for name in ("examples", "tests/cases"):
        shutil.copytree(ROOT / name, tmp_path / name)
    ran = []
    for found in ALL:
        if found.page in COMPARED and " ".join(found.words).startswith(WITHOUT_A_BROKER) and not found.output:
            code, _, err = run(*found.words)
            assert code == 0, f"{found}: {err}"
            ran.append(found)
    assert len(ran) >= 4


@pytest.mark.parametrize("target", sorted({
    target
    for page in PAGES
    if page.name != "CHANGELOG.md"
    for block in blocks(page)
    for target in re.findall(r"^make ([a-z][a-z-]*)", block, re.MULTILINE)
}))  # fmt: skip
def test_a_make_target_that_is_shown_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_case_files_passes_as_its_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "how-to" / "case-files.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    block = page[page.index("```yaml\n") + len("```yaml\n") :]
    (tmp_path / "newsletter.yaml").write_text(block[: block.index("\n```")], encoding="utf-8")
    code, out, _ = CommandLine(monkeypatch, capsys)("policy", "test", "newsletter.yaml")
    assert (code, out) == (0, "3 passed, 0 failed\n")
    assert f"$ transfer-gate policy test newsletter.yaml\n{out}" in page
