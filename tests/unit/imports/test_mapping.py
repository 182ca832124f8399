"""Mapping files of `consent import`: what they say of themselves, and which events they make of rows."""

import datetime as dt
import json
import uuid
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import pytest

from transfer_gate.errors import InvalidInput
from transfer_gate.imports.event_fields import FIELDS, TYPES, NotATime, TimeFormat
from transfer_gate.imports.mapper import MappedEvent, Mapper
from transfer_gate.imports.mapping import Fields, ImportMapping, SlotFields, load_mapping, values_of
from transfer_gate.imports.readers import Rejection
from transfer_gate.records.consents import decode_consent
from transfer_gate.records.ids import NAMESPACE
from transfer_gate.registry import load_registry

EXAMPLES: Final = Path(__file__).parents[3] / "examples"
PARIS: Final = ZoneInfo("Europe/Paris")

BEGIN: Final = """\
source: crm
times: {zone: Europe/Paris, format: "%d/%m/%Y %H:%M"}
events:
  - name: only
    fields:
"""
WITHDRAWAL: Final = f"""{BEGIN}      type: {{constant: withdrawal}}
      prospect_id: {{column: id}}
      event_time: {{column: at}}
"""


def mapping(tmp_path: Path, text: str) -> ImportMapping:
    file = tmp_path / "mapping.yaml"
    file.write_text(text, encoding="utf-8")
    return load_mapping(file).mapping


def mapped(tmp_path: Path, text: str, **row: Any) -> list[MappedEvent]:
    """The events of one row, given as a JSON object and as cells: both must be the same."""
    read = mapping(tmp_path, text)
    as_object = Mapper(read, None).events(row)
    assert Mapper(read, list(row)).events(list(row.values())) == as_object
    return as_object


def event(tmp_path: Path, text: str, **row: Any) -> dict[str, Any]:
    (only,) = mapped(tmp_path, text, **row)
    body: dict[str, Any] = json.loads(only.value)
    assert only.key.decode() == body["prospect_id"]
    assert only.kind == body["type"]
    return body


def made(field: str, *of: str) -> str:
    """The id that an import makes, by the standard library."""
    return str(uuid.uuid5(NAMESPACE, f"import:crm:{field}:{json.dumps(of, separators=(',', ':'))}"))


def rejection(tmp_path: Path, text: str, **row: Any) -> tuple[str, str | None, str | None]:
    with pytest.raises(Rejection) as caught:
        mapped(tmp_path, text, **row)
    return caught.value.reason, caught.value.column, caught.value.kind


def problems(tmp_path: Path, text: str) -> list[str]:
    """What is wrong with a mapping, without the name of the file."""
    with pytest.raises(InvalidInput) as caught:
        mapping(tmp_path, text)
    assert caught.value.exit_code == 2
    lines = [line.strip().removeprefix(f"{tmp_path}/mapping.yaml:") for line in caught.value.message.splitlines()[1:]]
    return [line.replace("events[0].fields", "…") for line in lines]


def test_a_mapping_can_name_every_field_that_the_gate_reads_and_no_other() -> None:
    """The model of the file is written out; the fields come from `model.consent`."""
    every = {"constant": "x"}
    slot = {"from": every, "to": every}
    nested = {
        name: {part.partition(".")[2]: every for part in FIELDS if part.startswith(f"{name}.")}
        for name in ("proof", "guardian", "scope")
    }
    plain = {name: every for name in FIELDS if "." not in name}
    fields = Fields.model_validate({**plain, **nested, "call_slots": [slot]})
    assert {name for _, name, _ in values_of(fields)} == set(FIELDS)
    named = {info.alias or name for name, info in Fields.model_fields.items()}
    assert named == {name.partition(".")[0] for name in FIELDS}
    assert {info.alias or name for name, info in SlotFields.model_fields.items()} == {"from", "to"}


def test_a_consent_of_every_field_is_read_by_the_gate(tmp_path: Path) -> None:
    text = f"""{BEGIN}      type: {{column: kind, values: {{in: consent, out: withdrawal}}}}
      event_id: {{column: id2}}
      prospect_id: {{column: who}}
      event_time: {{column: at}}
      record_id: {{uuid5: [who, form]}}
      state: {{column: state, default: given}}
      lawful_basis: {{constant: consent}}
      indication: {{constant: signature}}
      purposes: {{constant: direct_marketing}}
      channels:
        - {{column: mail, values: {{"1": email, "0": null}}}}
        - {{column: sms, values: {{"true": sms, "false": null}}}}
      party_ids: {{column: to, separator: "|", values: {{A: acme, B: helios, C: null}}}}
      offer_categories: {{column: offers, separator: ","}}
      partner_list_version: {{constant: l-1}}
      notice_version: {{column: form}}
      validity: {{constant: P1Y}}
      time_precise: {{column: precise}}
      guardian: {{party_id: {{column: guardian}}, event_time: {{column: at}}, proof_id: {{column: guardian}}}}
      special_categories: {{constant: [health]}}
      call_slots:
        - from: {{column: slot, time: {{format: iso}}}}
          to: {{column: slot_end, time: {{format: epoch_seconds}}}}
      proof:
        proof_id: {{column: proof}}
        text_hash: {{column: hash}}
        individual: {{constant: true}}
        collector: {{constant: devis-malin}}
        kept_until: {{column: kept, time: {{format: date, zone: Europe/Paris}}}}
      scope: {{channels: {{constant: all}}}}
"""
    row = {
        "kind": "in", "id2": "e-1", "who": 17, "form": "n-1", "at": "05/09/2026 18:42", "state": "", "mail": "1",
        "sms": "true", "to": "A| B|C||A", "offers": "insurance, telecom", "precise": "1", "guardian": "g-1",
        "slot": "2026-09-10T18:00:00+02:00", "slot_end": "1789059600", "proof": "p-1", "hash": "sha256:0a",
        "kept": "2031-01-01",
    }  # fmt: skip
    assert event(tmp_path, text, **row) == {
        "type": "consent",
        "event_id": "e-1",
        "prospect_id": "17",
        "event_time": "2026-09-05T18:42:00+02:00",
        "record_id": made("record_id", "17", "n-1"),
        "state": "given",
        "lawful_basis": "consent",
        "indication": "signature",
        "purposes": ["direct_marketing"],
        "channels": ["email", "sms"],
        "party_ids": ["acme", "helios"],
        "offer_categories": ["insurance", "telecom"],
        "partner_list_version": "l-1",
        "notice_version": "n-1",
        "validity": "P1Y",
        "time_precise": True,
        "guardian": {"party_id": "g-1", "event_time": "2026-09-05T18:42:00+02:00", "proof_id": "g-1"},
        "special_categories": ["health"],
        "call_slots": [{"from": "2026-09-10T18:00:00+02:00", "to": "2026-09-10T17:00:00Z"}],
        "proof": {
            "proof_id": "p-1",
            "text_hash": "sha256:0a",
            "individual": True,
            "collector": "devis-malin",
            "kept_until": "2031-01-01T00:00:00+01:00",
        },
    }
    out = event(tmp_path, text, **row | {"kind": "out"})
    assert out == {
        "type": "withdrawal",
        "event_id": "e-1",
        "prospect_id": "17",
        "event_time": "2026-09-05T18:42:00+02:00",
        "scope": {"channels": "all"},
    }


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_of_event_can_be_made(tmp_path: Path, kind: str) -> None:
    more = "      record_id: {column: id}\n      state: {constant: given}\n" if kind == "consent" else ""
    text = WITHDRAWAL.replace("withdrawal", kind) + more
    (made,) = mapped(tmp_path, text, id="p-1", at="05/09/2026 18:42")
    assert msgspec.to_builtins(decode_consent(made.value, b"p-1"))["type"] == kind


def test_ids_are_the_same_in_every_import_and_format_and_differ_by_source_and_content(tmp_path: Path) -> None:
    text = WITHDRAWAL + "      event_id: {uuid5: [id, no]}\n"
    ids = {event(tmp_path, text, id="p-1", at="05/09/2026 18:42", no=no)["event_id"] for no in ("7", 7, " 7 ")}
    assert ids == {made("event_id", "only", "p-1", "7")}
    others = [
        event(tmp_path, text, id="p-1", at="05/09/2026 18:42", no="8"),
        event(tmp_path, text.replace("source: crm", "source: shop"), id="p-1", at="05/09/2026 18:42", no="7"),
        event(tmp_path, text.replace("name: only", "name: other"), id="p-1", at="05/09/2026 18:42", no="7"),
        event(tmp_path, text, id="p-1", at="05/09/2026 18:42", no=None),
        event(tmp_path, WITHDRAWAL, id="p-1", at="05/09/2026 18:42"),
        event(tmp_path, WITHDRAWAL, id="p-1", at="05/09/2026 18:43"),
    ]
    assert len({other["event_id"] for other in others} | ids) == 7
    again = event(tmp_path, WITHDRAWAL, id="p-1", at="05/09/2026 18:42")
    assert again == others[4]


def test_columns_in_objects_are_found_along_their_dots(tmp_path: Path) -> None:
    text = WITHDRAWAL.replace("{column: id}", "{column: person.id}")
    assert event(tmp_path, text, person={"id": "p-1"}, at="05/09/2026 18:42")["prospect_id"] == "p-1"
    assert Mapper(mapping(tmp_path, text), None).events({"person.id": "p-2", "at": "05/09/2026 18:42"})[0].key == b"p-2"
    assert rejection(tmp_path, text, person="p-1", at="05/09/2026 18:42")[0] == "prospect_id: is absent"


AT: Final = "05/09/2026 18:42"


@pytest.mark.parametrize(
    ("row", "reason", "column"),
    [
        ({"id": "", "at": AT}, "prospect_id: is absent", "id"),
        ({"id": "p-1", "at": " "}, "event_time: is absent", "at"),
        ({"id": "p-1", "at": "2026-09-05 18:42"}, "event_time: not a time of the format %d/%m/%Y %H:%M", "at"),
        ({"id": "p-1", "at": "31/09/2026 18:42"}, "event_time: no calendar has this time", "at"),
        ({"id": "p-1", "at": "05/09/1999 18:42"}, "event_time is before 2000-01-01 (Europe/Paris)", None),
        ({"id": "N/A", "at": AT}, "prospect_id identifies no person", None),
        ({"id": "p" * 129, "at": AT}, "prospect_id: Expected `str` of length <= 128", "id"),
        ({"id": 1.5, "at": AT}, "prospect_id: is not a text", "id"),
        ({"id": True, "at": AT}, "prospect_id: is not a text", "id"),
        ({"id": "p\udce9", "at": AT}, "holds bytes that are not of its encoding", None),
    ],
)
def test_a_row_that_the_gate_could_not_read_is_rejected_and_its_values_are_not_repeated(
    tmp_path: Path, row: dict[str, Any], reason: str, column: str | None
) -> None:
    assert rejection(tmp_path, WITHDRAWAL, **row) == (reason, column, "withdrawal")


def test_words_that_no_table_and_no_condition_knows_reject_the_row(tmp_path: Path) -> None:
    table = WITHDRAWAL + "      scope: {channels: {column: by, values: {mail: email}, separator: ','}}\n"
    row = {"id": "p-1", "at": AT}
    assert event(tmp_path, table, **row, by="mail")["scope"] == {"channels": ["email"]}
    assert "scope" not in event(tmp_path, table, **row, by="")
    told = rejection(tmp_path, table, **row, by="mail,fax")
    assert told == ("scope.channels: a word that is not in the value table", "by", "withdrawal")
    status = WITHDRAWAL.replace("    fields:", '    when: {status: ["out", "gone"], at: present}\n    fields:')
    assert len(mapped(tmp_path, status, **row, status="gone")) == 1
    assert rejection(tmp_path, status, **row, status="left") == (
        "no event of the mapping applies to this row",
        None,
        None,
    )
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]
    beyond = rejection(tmp_path, status, **row, status=nested)
    assert beyond == ("holds a value that no event can hold (RecursionError)", None, None)
    skipping = status + "  - name: others\n    when: {status: [left], at: present}\n    skip: true\n"
    assert mapped(tmp_path, skipping, **row, status="left") == []


def test_a_word_that_means_nothing_is_an_answer_and_only_an_absent_value_has_a_default(tmp_path: Path) -> None:
    """Whoever said no is not taken for somebody who said nothing."""
    text = (
        WITHDRAWAL.replace("withdrawal", "consent")
        + """\
      record_id: {column: id}
      state: {constant: given}
      channels: {column: by, values: {"no": null, "all": [email, sms], "mail": email}, separator: ",", default: postal}
      offer_categories: {column: offers}
"""
    )
    row = {"id": "p-1", "at": AT, "offers": [" insurance ", "", None, "insurance"]}
    found = {
        by: event(tmp_path, text, **row, by=by).get("channels") for by in ("no", "", "all", "mail,no", "mail,all,mail")
    }
    assert found == {
        "no": None, "": ["postal"], "all": ["email", "sms"], "mail,no": ["email"], "mail,all,mail": ["email", "sms"],
    }  # fmt: skip
    assert event(tmp_path, text, **row, by="no")["offer_categories"] == ["insurance"]


def test_a_wrong_word_in_a_column_is_told_by_field_and_column(tmp_path: Path) -> None:
    text = WITHDRAWAL + "      scope: {channels: {column: by, separator: ','}}\n"
    told = rejection(tmp_path, text, id="p-1", at=AT, by="email,+33 6 39 98 00 11")
    assert told == ("scope.channels: Invalid enum value", "by", "withdrawal")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (WITHDRAWAL.replace("column: id", "colum: id"), "7: ….prospect_id.colum: unknown key"),
        (WITHDRAWAL.replace("{column: id}", "{column: id, constant: x}"), "7: ….prospect_id: needs exactly"),
        (WITHDRAWAL.replace("withdrawal", "withdrawl"), "6: ….type.constant: must be one of"),
        (WITHDRAWAL.replace("withdrawal", "resolution"), "6: ….type.constant: resolution is not"),
        (WITHDRAWAL.replace("withdrawal", "consent"), "5: …: a consent needs record_id, state"),
        (WITHDRAWAL + "      state: {constant: given}\n", "9: ….state: is no field of withdrawal"),
        (WITHDRAWAL.replace("Europe/Paris", "Europe/Pari"), "2: times.zone: must be an IANA time zone"),
        (WITHDRAWAL.replace("zone: Europe/Paris, ", ""), "8: ….event_time: times of the format"),
        (WITHDRAWAL.replace("%d/%m", "%d %b"), "2: times.format: %b is not known"),
        (WITHDRAWAL + "      event_id: {uuid5: []}\n", "9: ….event_id.uuid5: names no column"),
        (WITHDRAWAL + "      scope: {channels: {constant: [fax]}}\n", "9: ….scope.channels[0].constant: does not"),
        (WITHDRAWAL.replace("{column: id}", "{uuid5: [id]}"), "7: ….prospect_id.uuid5: makes ids for"),
        (WITHDRAWAL.replace("{column: id}", "{column: id, separator: x}"), "7: ….prospect_id.separator: is for"),
        (WITHDRAWAL.replace("    fields:", "    skip: true\n    fields:"), "5: events[0].skip: needs when"),
        (WITHDRAWAL.replace("    fields:", "    when: {x: [1]}\n    fields:"), "5: events[0].when.x: must be present"),
        (WITHDRAWAL + WITHDRAWAL[WITHDRAWAL.index("  - name") :], "9: events[1].name: only stands twice"),
        (WITHDRAWAL + "csv: {encoding: utf-9}\n", "9: csv.encoding: is not an encoding"),
        (
            WITHDRAWAL.replace(" %H:%M", "").replace("withdrawal", "consent")
            + "      record_id: {column: id}\n      state: {constant: given}\n",
            "8: ….event_time: times without an hour are not precise",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_mapping_is_told_with_line_and_field(tmp_path: Path, text: str, told: str) -> None:
    assert any(problem.startswith(told) for problem in problems(tmp_path, text)), problems(tmp_path, text)


@pytest.mark.parametrize(
    ("form", "value", "utc"),
    [
        ("iso", "2026-10-25T02:30:00+02:00", "2026-10-25T00:30:00"),
        ("iso", "2026-10-25 02:30:00.5Z", "2026-10-25T02:30:00.500000"),
        ("iso", "2026-07-01T12:00", "2026-07-01T10:00:00"),
        # Twice: its first occurrence. Skipped: with the offset before the change (rules.md 1.1).
        ("%Y-%m-%d %H:%M", "2026-10-25 02:30", "2026-10-25T00:30:00"),
        ("%Y-%m-%d %H:%M", "2026-03-29 02:30", "2026-03-29T01:30:00"),
        ("%d.%m.%Y %H:%M:%S.%f", "1.2.2026 9:05:07.25", "2026-02-01T08:05:07.250000"),
        ("%Y%m%d", "20260102", "2026-01-01T23:00:00"),
        ("date", "2026-01-02", "2026-01-01T23:00:00"),
        ("date", dt.date(2026, 1, 2), "2026-01-01T23:00:00"),
        ("%d/%m/%Y %H:%M %z", "02/01/2026 10:00 -0330", "2026-01-02T13:30:00"),
        ("epoch_seconds", "1767312000", "2026-01-02T00:00:00"),
        ("epoch_milliseconds", 1767312000123, "2026-01-02T00:00:00.123000"),
        ("epoch_microseconds", "1767312000123456", "2026-01-02T00:00:00.123456"),
        ("iso", dt.datetime(2026, 1, 2, 1, tzinfo=PARIS), "2026-01-02T00:00:00"),
        ("iso", dt.datetime(2026, 1, 2, 1), "2026-01-02T00:00:00"),  # noqa: DTZ001 - as Parquet has it
    ],
)
def test_times_are_read_in_the_zone_of_the_mapping(form: str, value: Any, utc: str) -> None:
    read = TimeFormat(form).reader(PARIS)
    assert read(value).astimezone(dt.UTC).replace(tzinfo=None).isoformat() == utc


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("iso", "2026-01-02"), ("iso", "02/01/2026 10:00"), ("iso", "2026-13-01T00:00:00Z"), ("iso", 1767312000),
        ("iso", dt.date(2026, 1, 2)), ("date", "2026-02-30"), ("%d/%m/%Y", "2/1/26"), ("epoch_seconds", "soon"),
        ("epoch_seconds", "9" * 400), ("epoch_seconds", "-" * 3), ("iso", True), ("%Y%m%d", "٢٠٢٦٠١٠٢"),
    ],
)  # fmt: skip
def test_what_is_not_a_time_is_not_guessed(form: str, value: Any) -> None:
    with pytest.raises(NotATime):
        TimeFormat(form).reader(PARIS)(value)


def test_a_time_without_offset_needs_a_zone() -> None:
    with pytest.raises(NotATime, match="has no offset"):
        TimeFormat("iso").reader(None)("2026-01-02T00:00:00")


def test_the_sample_mapping_makes_consents_that_the_sample_notice_covers() -> None:
    """Words of the registry in the sample, so that whoever begins with it can release something."""
    sample = load_mapping(EXAMPLES / "consents" / "crm-mapping.yaml").mapping
    header, *lines = (EXAMPLES / "consents" / "crm-export.csv").read_text(encoding="utf-8").splitlines()
    mapper = Mapper(sample, header.split(";"))
    registry = load_registry(EXAMPLES / "registry")
    kinds = [[made.kind for made in mapper.events(line.split(";"))] for line in lines[:-1]]
    assert kinds == [["consent"], ["consent", "withdrawal"], ["consent", "erasure"], [], []]
    with pytest.raises(Rejection, match="no calendar has this time"):
        mapper.events(lines[-1].split(";"))
    consent = json.loads(mapper.events(lines[0].split(";"))[0].value)
    notice = registry.notices[consent["notice_version"]]
    assert consent["proof"]["text_hash"] == notice.text_hash
    assert notice.partner_list is not None
    assert consent["partner_list_version"] == notice.partner_list.version
    assert set(consent["party_ids"]) <= set(notice.partner_list.party_ids)
