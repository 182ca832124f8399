"""The pages about the rules say what the code says, and what they show is what the commands print."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.support.command_line import CommandLine
from transfer_gate.model.terms import REASONS
from transfer_gate.policy.catalogue import RULES
from transfer_gate.policy.rule import GDPR, Status

DOCS: Final = Path(__file__).parents[2] / "docs"
EXPLAINED: Final = (DOCS / "explanation" / "rules.md").read_text(encoding="utf-8")
CASE_FILES: Final = (DOCS / "how-to" / "case-files.md").read_text(encoding="utf-8")
ADD_A_RULE: Final = (DOCS / "how-to" / "add-a-rule.md").read_text(encoding="utf-8")
MONTHS: Final = "January February March April May June July August September October November December".split()  # noqa: SIM905


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys, "policy", "test")


def _blocks(page: str, kind: str) -> list[str]:
    """The fenced blocks of that kind; "" are those that show what a terminal shows."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    return [text for found, text in fenced if found == kind]


def test_the_explanation_names_every_reason_and_no_other() -> None:
    named = set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", EXPLAINED))
    assert named == {reason for reason in REASONS if "-" in reason}
    assert "`undecodable`" in EXPLAINED


def test_the_explanation_has_every_date_of_a_rule() -> None:
    for rule in RULES:
        for day in {rule.first_day, rule.end_day} - {None, GDPR}:
            assert day is not None
            assert f"{day.day} {MONTHS[day.month - 1]} {day.year}" in EXPLAINED, rule.id


def test_the_explanation_names_the_decisions_that_the_rules_cite_and_no_other() -> None:
    cited = {"KASPR", "ACCOR", "Canal+", "HUBSIDE", "TAGADAMEDIA", "EDF", "SOLOCAL", "COSMOSPACE", "FORIOU"}
    cited |= {"C-673/17", "C-621/22", "C-654/23", "SAN-2025-017"}
    named = set(re.findall(r"\*\*([^*]+)\*\*", EXPLAINED))
    assert {name for name in named if name.isupper() or name[1:2] == "-" or name == "Canal+"} - {"C"} == cited
    references = " ".join(rule.reference for rule in RULES)
    assert all(name in references for name in cited)


def test_contested_rules_are_said_to_be_contested() -> None:
    for rule in RULES:
        if rule.status is Status.CONTESTED:
            paragraph = next(part for part in re.split(r"\n\n|\n- ", EXPLAINED) if f"`{rule.id}`" in part)
            assert "contested" in paragraph, rule.id


def test_the_first_case_file_passes_and_its_failures_are_those_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: CommandLine
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("newsletter.yaml")
    written = _blocks(CASE_FILES, "yaml")[0]
    passed, failed, slip, wrong = (re.sub(r"^\$.*\n", "", block) for block in _blocks(CASE_FILES, "")[:4])
    for text, code, shown in (
        (written, 0, passed),
        (written.replace("validity: P6M", "validity: P7M"), 1, failed),
        (written.replace("indication: unticked_box_ticked", "indication: unticked_box_tickd"), 1, slip),
        (written.replace("status: active", "status: activ"), 2, wrong),
    ):
        file.write_text(text)
        ended, out, err = command(file)
        assert ended == code
        assert (out + err).startswith(shown)


def test_the_example_of_a_new_rule_begins_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: CommandLine
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("tests/cases/window.yaml")
    file.parent.mkdir(parents=True)
    file.write_text(_blocks(ADD_A_RULE, "yaml")[0])
    code, out, err = command(file)
    assert (code, out) == (2, "")
    assert err == re.sub(r"^\$.*\n", "", _blocks(ADD_A_RULE, "")[0])
