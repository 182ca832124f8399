"""Source files of `ingest`: what is wrong with one, what becomes of a body, and the cases beside it."""

import base64
import datetime as dt
import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.command_line import CommandLine
from transfer_gate.errors import InvalidInput
from transfer_gate.ingest.reading import MOST_ITEMS, BodyReader, Reading
from transfer_gate.ingest.source import SourceFile, load_source, load_sources
from transfer_gate.records.consents import Unreadable, decode_consent

EXAMPLES: Final = Path(__file__).parents[3] / "examples" / "ingest"
AT: Final = dt.datetime(2026, 11, 29, 10, tzinfo=dt.UTC)
SOURCE: Final = """\
source: crm
authentication: {bearer: {token_file: crm-token}}
regulation: {column: law, ours: [gdpr], others: [cpra]}
items: events
events:
  - name: opt-out
    when: {item.kind: [out]}
    fields:
      type: {constant: withdrawal}
      prospect_id: {column: item.who.0.id}
      event_time: {column: item.at}
  - name: other
    when: {item.kind: [page-view]}
    skip: true
"""


def source(folder: Path, text: str = SOURCE, name: str = "crm.yaml") -> SourceFile:
    (folder / name).write_text(text, encoding="utf-8")
    return load_source(folder / name)


@pytest.fixture
def reader(tmp_path: Path) -> BodyReader:
    return BodyReader(source(tmp_path).source)


def opt_out(who: str, **more: Any) -> dict[str, Any]:
    return {"kind": "out", "who": [{"id": who}], "at": "2026-11-29T09:00:00Z"} | more


def read(reader: BodyReader, *events: Any, law: Any = "gdpr") -> Reading:
    return reader.read(json.dumps({"law": law, "events": events}).encode(), AT)


def marked(reading: Reading) -> set[str]:
    """Whom a gate blocks that reads these records."""
    found: set[str] = set()
    for record in (*reading.unreadable, *((reading.of_nobody,) if reading.of_nobody else ())):
        with pytest.raises(Unreadable) as caught:
            decode_consent(record.value, record.key)
        found |= {prospect.decode() for prospect in caught.value.prospects}
    return found


def test_every_event_of_a_body_counts_and_what_is_left_out_on_purpose_is_counted(reader: BodyReader) -> None:
    reading = read(reader, opt_out("p-1"), opt_out("p-2"), {"kind": "page-view"})
    assert [event.key for event in reading.events] == [b"p-1", b"p-2"]
    assert {event.kind for event in reading.events} == {"withdrawal"}
    assert (reading.passed_over, reading.unreadable, reading.of_nobody) == (1, [], None)
    again = read(reader, opt_out("p-1"), opt_out("p-2"), {"kind": "page-view"})
    assert again.events == reading.events


def test_an_event_that_can_not_be_mapped_is_an_unreadable_event_of_its_person(reader: BodyReader) -> None:
    reading = read(reader, opt_out("p-1", at="soon"), opt_out("p-2"), opt_out("p-3", kind="cancelled"))
    assert [event.key for event in reading.events] == [b"p-2"]
    assert {record.key: record.reason for record in reading.unreadable} == {
        b"p-1": "event_time: not a time of the format iso, such as 2024-03-05T18:00:00+01:00 (item.at)",
        b"p-3": "no event of the mapping applies to this row",
    }
    assert marked(reading) == {"p-1", "p-3"}
    kept = json.loads(reading.unreadable[0].value)
    assert json.loads(kept["body"]) == opt_out("p-1", at="soon")
    assert (kept["item"], kept["source"], kept["received_at"]) == (0, "crm", "2026-11-29T10:00:00Z")


def test_what_was_sent_alone_is_kept_byte_for_byte(reader: BodyReader) -> None:
    body = b'{"law": "gdpr",  "events": [{"kind": "?", "who": [{"id": "p-1"}]}]}'
    (record,) = reader.read(body, AT).unreadable
    assert json.loads(record.value)["body"].encode() == body
    hostile = body.replace(b"?", b"\xff")
    nobody = reader.read(hostile, AT).of_nobody
    assert nobody is not None
    assert base64.b64decode(json.loads(nobody.value)["body_base64"]) == hostile


def test_a_body_that_is_itself_a_consent_event_never_counts_as_one(tmp_path: Path) -> None:
    """What the mapping refuses must not come in beside it."""
    reader = BodyReader(source(tmp_path, SOURCE.replace("items: events\n", "")).source)
    body = {
        "type": "restriction_lifted",
        "event_id": "e-1",
        "prospect_id": "p-1",
        "event_time": "2026-11-29T09:00:00Z",
        "law": "gdpr",
        "item": opt_out("p-1", kind="?"),
    }
    reading = reader.read(json.dumps(body).encode(), AT)
    assert reading.events == []
    assert marked(reading) == {"p-1"}


@pytest.mark.parametrize(
    ("law", "events", "other", "blocked"),
    [
        ("gdpr", 1, 0, set()),
        (" GDPR ", 1, 0, set()),
        ("cpra", 0, 1, set()),
        ("gdpr-2", 0, 0, {"p-1"}),
        (None, 0, 0, {"p-1"}),
        (["gdpr"], 0, 0, {"p-1"}),
    ],
)
def test_an_event_of_another_regulation_changes_nothing_and_one_of_an_unknown_one_blocks(
    reader: BodyReader, law: Any, events: int, other: int, blocked: set[str]
) -> None:
    reading = read(reader, opt_out("p-1"), law=law)
    assert (len(reading.events), reading.other_regulation, marked(reading)) == (events, other, blocked)


@pytest.mark.parametrize("who", ["", "undefined", " Null ", "x" * 129, "\ud800", 7.5, None, {"id": "p-1"}])
def test_an_event_of_nobody_known_is_kept_and_refused_and_others_of_its_body_count(
    reader: BodyReader, who: Any
) -> None:
    reading = read(reader, opt_out("p-2"), opt_out(who))
    assert [event.key for event in reading.events] in ([b"p-2"], [])
    assert reading.of_nobody is not None
    assert reading.of_nobody.key is None
    assert marked(reading) <= {"p-2"}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"law": "gdpr", "events": {"kind": 1}}']
)
def test_a_body_that_holds_no_events_is_kept_and_refused(reader: BodyReader, body: bytes) -> None:
    reading = reader.read(body, AT)
    assert reading.of_nobody is not None
    assert (reading.events, reading.unreadable) == ((), [])


def test_a_member_that_is_named_twice_blocks_whom_it_may_mean_and_is_refused(tmp_path: Path) -> None:
    reader = BodyReader(source(tmp_path, SOURCE.replace("items: events\n", "")).source)
    body = json.dumps({"law": "gdpr", "item": opt_out("p-1")}).replace('"law"', '"law": "cpra", "law"', 1)
    reading = reader.read(body.encode(), AT)
    assert reading.of_nobody is not None
    assert (reading.events, marked(reading)) == ((), {"p-1"})


def test_a_body_of_too_many_events_is_refused_whole(reader: BodyReader) -> None:
    reading = read(reader, *[opt_out("p-1")] * (MOST_ITEMS + 1))
    assert reading.of_nobody is not None
    assert reading.of_nobody.reason == "more than 1000 events in one body"
    assert reading.events == ()


def test_a_body_may_itself_be_the_list(tmp_path: Path) -> None:
    text = SOURCE.replace("items: events", "items: $").replace("column: law", "column: item.law")
    reader = BodyReader(source(tmp_path, text).source)
    reading = reader.read(json.dumps([opt_out("p-1", law="gdpr"), opt_out("p-2", law="cpra")]).encode(), AT)
    assert ([event.key for event in reading.events], reading.other_regulation) == ([b"p-1"], 1)
    refused = reader.read(json.dumps(opt_out("p-1")).encode(), AT)
    assert refused.of_nobody is not None
    assert marked(refused) == {"p-1"}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("source: crm", "source: CRM", "source: must be lower-case letters"),
        ("{bearer: {token_file: crm-token}}", "{}", "authentication: names nobody"),
        ("crm-token", "../crm-token", "token_file: must be the name of a file"),
        ("{bearer: {token_file: crm-token}}", "{addresses: [192.0.2.1/8]}", "must be an address or a network"),
        ("{column: law, ours: [gdpr], others: [cpra]}", "{}", "regulation: needs exactly one of column and constant"),
        ("ours: [gdpr], others: [cpra]", "others: [cpra]", "ours: is required"),
        ("others: [cpra]", "others: [GDPR]", "others: gdpr stands in ours as well"),
        ("{column: law, ours: [gdpr], others: [cpra]}", "{constant: gdpr, ours: [gdpr]}", "ours: needs a column"),
        ("others: [cpra]", "default: ccpa", "default: must be a word of ours or others"),
        ("type: {constant: withdrawal}", "type: {constant: widthrawal}", "did you mean withdrawal?"),
        ("items: events", "item: events", "item: unknown key; did you mean items?"),
        ("items: events", "largest_body_kib: 513", "largest_body_kib: must be less than or equal to 512"),
    ],
)
def test_what_is_wrong_with_a_source_is_reported_with_its_place(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in SOURCE
    with pytest.raises(InvalidInput, match=f"crm.yaml:[0-9]+: .*{told.replace('?', '[?]')}"):
        source(tmp_path, SOURCE.replace(old, new))


def test_two_files_of_one_source_and_a_folder_without_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no source file"):
        load_sources(tmp_path)
    source(tmp_path)
    source(tmp_path, name="again.yaml")
    with pytest.raises(InvalidInput, match="source crm stands in two files"):
        load_sources(tmp_path)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys, "ingest", "test")


def test_the_shipped_sources_pass_their_cases(run: CommandLine) -> None:
    code, out, err = run(EXAMPLES)
    assert (code, out.splitlines()[-1], err) == (0, "18 passed, 0 failed", "")


def test_a_case_that_differs_is_shown_with_its_line(run: CommandLine, tmp_path: Path) -> None:
    source(tmp_path)
    (tmp_path / "crm.cases.yaml").write_text(
        "cases:\n"
        "  - name: right\n"
        "    body: {law: cpra, events: [{}]}\n"
        "    expect: {other_regulation: 1}\n"
        "  - name: wrong\n"
        "    body: {law: gdpr, events: [{kind: out, who: [{id: p-1}], at: '2026-11-29T09:00:00Z'}, {kind: '?'}]}\n"
        "    expect: {events: [{type: objection}], unreadable: [p-1], passed_over: 1}\n",
        encoding="utf-8",
    )
    code, out, _ = run(tmp_path / "crm.cases.yaml")
    assert code == 1
    assert out.splitlines() == [
        f"FAILED {tmp_path}/crm.cases.yaml:5: wrong",
        '  events[0].type: expected "objection", found "withdrawal"',
        "  p-1 is not blocked by an unreadable event",
        "  the body is refused: no event of the mapping applies to this row; its prospect is not known",
        "  passed_over: expected 1, found 0",
        "1 passed, 1 failed",
    ]


def test_a_source_without_cases_is_named(run: CommandLine, tmp_path: Path) -> None:
    source(tmp_path)
    code, _, err = run(tmp_path)
    assert code == 3
    assert "no cases beside it (crm.cases.yaml)" in err
