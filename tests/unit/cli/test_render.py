"""What commands and logs print of others: one line, no control or bidirectional character, no contact point."""

import ast
import json
import unicodedata
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfer_gate.cli.render import Page, Rows, columns, echo, echo_json, show, table
from transfer_gate.gate.monitoring import plausible
from transfer_gate.printable import json_text, lines, one_line, without_contacts

CLI: Final = Path(__file__).parents[3] / "src" / "transfer_gate" / "cli"
#: Prints the texts of the demo, with markup, about people that it made up.
OWN_TEXTS: Final = {"render.py", "demo.py", "__init__.py"}
HOSTILE: Final = "acme\x1b]0;owned\x07\x1b[2J\r\n99999999  0:0  forged line \u202e[bold]\u2028\x85\ud800"


def forbidden(text: str) -> set[str]:
    """Characters that a terminal or a reader may be misled by, but the line feeds that end lines."""
    return {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


@given(st.text())
def test_a_text_is_one_line_without_controls(text: str) -> None:
    shown = one_line(text)
    assert not forbidden(shown)
    assert "\n" not in shown


@given(st.text(st.characters(codec="utf-8")))
def test_json_says_the_same_and_is_printable(text: str) -> None:
    shown = json_text(json.dumps({"a": text}, ensure_ascii=False, indent=2))
    assert not forbidden(shown)
    assert json.loads(shown) == {"a": text}


def test_everything_that_commands_print_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    echo(HOSTILE)
    echo(HOSTILE, err=True)
    echo_json({HOSTILE: [HOSTILE]})
    echo_json(HOSTILE, indent=None)
    table = Rows(box=None)
    table.add_column("partner")
    table.add_row(HOSTILE)
    Page().print(table)
    Page(stderr=True).print(HOSTILE)
    out, err = capsys.readouterr()
    assert not forbidden(out + err)
    assert "[bold]" in err, "markup of others is text"
    assert out.splitlines()[0].startswith(r"acme\x1b]0;owned\x07\x1b[2J\r\n99999999  0:0  forged line \u202e")
    assert err.count("\n") == 2


def test_a_result_is_shown_as_a_page_as_json_or_as_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"partner": HOSTILE, "records": 1200}, {"partner": "acme", "records": 7}]
    page = ("by partner", table([(HOSTILE[:4], "1,200"), ("x", "7")], "partner", ">records"))
    shown = {}
    for output in ("table", "json", "jsonl"):
        show(output, {"counts": rows}, page)
        shown[output] = capsys.readouterr().out
        assert not forbidden(shown[output])
    assert [line.rstrip() for line in shown["table"].splitlines()] == [
        "by partner",
        "partner  records",
        "acme       1,200",
        "x              7",
    ]
    # What is not valid Unicode in the key of a record comes out as its escape.
    assert json.loads(shown["json"]) == {"counts": rows}
    assert [json.loads(line) for line in shown["jsonl"].splitlines()] == rows


def test_a_table_without_titles_has_no_header_and_cuts_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    show("table", {}, [table([("a" * 30, "1", HOSTILE)], "", ">", "")])
    out = capsys.readouterr().out
    assert not forbidden(out)
    assert out.count("a" * 5) >= 2
    assert out.count("a") >= 30 + HOSTILE.count("a")


def test_cells_of_lines_stand_below_each_other() -> None:
    assert [columns(cells, (6, 3, 0)) for cells in (("place", "try", "state"), ("0:7", 1, ""))] == [
        "place   try  state",
        "0:7     1",
    ]


def test_a_message_keeps_its_own_lines_and_no_line_of_others_begins_like_one() -> None:
    assert lines("a topic\n  what to do: x\ntransfer-gate: forged\x1b") == (
        "a topic\n  what to do: x\n  transfer-gate: forged\\x1b"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("someone@example.org", "***@***"),
        ("Claire <claire@courriel.example>", "Claire <***@***>"),
        ("+33612345678", "***"),
        ("p-06 12 34 56 78", "p-***"),
        ("0033 6 12 34 56 78", "***"),
        ("acme", "acme"),
        ("siren-552100554", "siren-552100554"),
        ("4f6ae0cc-0612-5345-8789-0123456789ab", "4f6ae0cc-0612-5345-8789-0123456789ab"),
        ("2026-11-28T17:00:00+00:00", "2026-11-28T17:00:00+00:00"),
    ],
)
def test_an_id_that_is_a_contact_point_is_masked(text: str, shown: str) -> None:
    assert without_contacts(text) == shown


def test_commands_print_through_one_module() -> None:
    for module in CLI.glob("*.py"):
        if module.name in OWN_TEXTS:
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("click.echo", "click.secho", "print", "Console", "Table"), f"{module}: {called}"


@pytest.mark.parametrize("stamp", [-1, 0, -62135596800000, 1_795_000_000_000 + 86_400_001])
def test_a_timestamp_that_is_no_time_is_not_measured(stamp: int) -> None:
    assert not plausible(stamp, 1_795_000_000.0)
    assert plausible(1_795_000_000_000 + 86_400_000, 1_795_000_000.0)
