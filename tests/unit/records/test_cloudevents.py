"""CloudEvents in structured mode: what an envelope holds is read as if it came alone; a wrong one is no record."""

import base64
import contextlib
import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from transfer_gate.cases.input_files import events_in, transfer_in
from transfer_gate.errors import InvalidInput
from transfer_gate.records.cloudevents import AS_STRUCTURED, NotAnEnvelope, body_of, is_structured
from transfer_gate.records.consents import Unreadable, decode_consent
from transfer_gate.records.transfers import SchemaInvalid, Undecodable, decode_transfer

EXAMPLES: Final = Path(__file__).parents[3] / "examples" / "explain"
TRANSFER: Final = (EXAMPLES / "transfer.json").read_bytes()
WITHDRAWAL: Final[dict[str, Any]] = {
    "type": "withdrawal", "event_id": "e-1", "prospect_id": "p-1", "event_time": "2026-09-14T08:30:11Z",
}  # fmt: skip


def envelope(**members: Any) -> bytes:
    """An envelope around a withdrawal, with other members; None takes one away."""
    whole = {
        "specversion": "1.0",
        "id": "ce-1",
        "source": "/preferences",
        "type": "org.example.withdrawn",
        "time": "2026-09-14T08:30:12Z",
        "datacontenttype": "application/json",
        "data": WITHDRAWAL,
    } | members
    return json.dumps({name: member for name, member in whole.items() if member is not None}).encode()


def in_base64(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "raw",
    [
        envelope(),
        envelope(data=None, data_base64=in_base64(WITHDRAWAL)),
        envelope(datacontenttype=None),
        envelope(datacontenttype="application/vnd.example.consent+json; charset=utf-8"),
        envelope(traceparent="00-1-2-00", subject="p-1"),
    ],
)
def test_an_envelope_is_read_as_what_it_holds(raw: bytes) -> None:
    alone = decode_consent(json.dumps(WITHDRAWAL).encode(), b"p-1")
    assert decode_consent(raw, b"p-1", headers=AS_STRUCTURED) == alone
    with pytest.raises(Unreadable):
        decode_consent(raw, b"p-1")


def test_the_id_of_the_envelope_stands_where_the_record_has_none() -> None:
    without = {name: member for name, member in WITHDRAWAL.items() if name != "event_id"}
    assert decode_consent(envelope(data=without), b"p-1", headers=AS_STRUCTURED).event_id == "ce-1"
    assert decode_consent(envelope(), b"p-1", headers=AS_STRUCTURED).event_id == "e-1"
    transfer = json.loads(TRANSFER)
    del transfer["event_id"]
    assert decode_transfer(envelope(data=transfer), AS_STRUCTURED).event_id == "ce-1"
    for event_id in (None, 7):
        with pytest.raises(SchemaInvalid):
            decode_transfer(
                json.dumps(json.loads(envelope()) | {"data": transfer | {"event_id": event_id}}).encode(), AS_STRUCTURED
            )


@pytest.mark.parametrize(
    ("content_type", "structured"),
    [
        (b"application/cloudevents+json", True),
        (b" Application/CloudEvents+JSON ; charset=UTF-8", True),
        (b"application/cloudevents-batch+json", False),
        (b"application/json", False),
        (b"", False),
        (None, False),
    ],
)
def test_the_content_type_says_whether_a_value_is_an_envelope(content_type: bytes | None, structured: bool) -> None:
    assert is_structured([("trace", b"1"), ("content-type", content_type)]) is structured
    assert not is_structured([("ce_content-type", content_type), ("ce_specversion", b"1.0")])


TWICE: Final = envelope().replace(b'"id": "ce-1"', b'"id": "ce-0", "id": "ce-1"')
#: No envelopes, and what is wrong with them.
WRONG: Final = {
    b"": "not a CloudEvents envelope",
    b"7": "not a CloudEvents envelope",
    b"[]": "not a CloudEvents envelope",
    b"{": "not a CloudEvents envelope",
    b"[" * 100_000: "not a CloudEvents envelope",
    json.dumps(WITHDRAWAL).encode(): "not a CloudEvents envelope",
    envelope(specversion=None): "not a CloudEvents envelope",
    envelope(id=7): "not a CloudEvents envelope",
    envelope(source=None): "not a CloudEvents envelope",
    envelope().replace(b"/preferences", b"/\xff"): "not a CloudEvents envelope",
    envelope(specversion="0.3"): "specversion: not 1.0",
    envelope(id=""): "id, source and type must not be empty",
    envelope(datacontenttype="application/xml"): "datacontenttype: not JSON",
    envelope(data=None): "needs exactly one of data and data_base64",
    envelope(data_base64="e30="): "needs exactly one of data and data_base64",
    envelope(data=None, data_base64="***"): "data_base64: not base64",
    TWICE: "a member is named twice (RFC 8259 section 4)",
}


@pytest.mark.parametrize("raw", WRONG, ids=lambda raw: raw[:40].decode(errors="replace"))
def test_a_wrong_envelope_is_undecodable_and_blocks_its_key(raw: bytes) -> None:
    with pytest.raises(Undecodable) as caught:
        decode_transfer(raw, AS_STRUCTURED)
    assert str(caught.value) == WRONG[raw]
    with pytest.raises(Unreadable) as unreadable:
        decode_consent(raw, b"p-1", headers=AS_STRUCTURED)
    assert unreadable.value.prospects == (b"p-1",)


@pytest.mark.parametrize("data", [7, "text", [], {}, None, {"prospect_id": 7}, {"event_id": "e-1"}])
def test_what_an_envelope_holds_is_judged_as_if_it_had_come_alone(data: Any) -> None:
    raw = envelope() if data is None else envelope(data=data)
    if data is None:
        raw = raw.replace(json.dumps(WITHDRAWAL).encode(), b"null")
    with pytest.raises(SchemaInvalid):
        decode_transfer(raw, AS_STRUCTURED)
    with pytest.raises(Unreadable):
        decode_consent(raw, b"p-1", headers=AS_STRUCTURED)


def test_an_envelope_around_a_broken_record_is_undecodable() -> None:
    with pytest.raises(Undecodable):
        decode_transfer(envelope(data=None, data_base64=base64.b64encode(b"{").decode()), AS_STRUCTURED)
    twice = base64.b64encode(b'{"event_id": "e-1", "event_id": "e-2"}').decode()
    with pytest.raises(Undecodable, match="named twice"):
        decode_transfer(envelope(data=None, data_base64=twice), AS_STRUCTURED)


def test_an_envelope_blocks_the_prospect_that_it_names_beside_its_key() -> None:
    with pytest.raises(Unreadable) as caught:
        decode_consent(envelope(data=WITHDRAWAL | {"prospect_id": "p-2"}), b"p-1", headers=AS_STRUCTURED)
    assert caught.value.prospects == (b"p-1", b"p-2")


MEMBERS: Final = st.sampled_from(
    ["specversion", "id", "source", "type", "data", "data_base64", "datacontenttype", "event_id"]
)
VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["1.0", "e30=", "application/json"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(MEMBERS, inner, max_size=8),
    max_leaves=12,
)


@given(VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40))
@example(b'{"specversion":"1.0","id":"\\ud800","source":"s","type":"t","data":{"a":1}}')
@example(b'{"specversion":"1.0","id":"1","source":"s","type":"t","data": \t {  } }')
@example(b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"event_id":null}}')
def test_no_envelope_raises_anything_else(raw: bytes) -> None:
    with contextlib.suppress(Undecodable, SchemaInvalid):
        decode_transfer(raw, AS_STRUCTURED)
    with pytest.raises(Unreadable) as caught:
        decode_consent(raw, b"p-1", headers=AS_STRUCTURED)
    assert b"p-1" in caught.value.prospects
    with contextlib.suppress(NotAnEnvelope):
        body_of(raw)


def test_files_of_envelopes_are_read_like_the_records_that_they_hold(tmp_path: Path) -> None:
    """For `policy explain --event --consents`."""
    file = tmp_path / "transfer.json"
    file.write_bytes(envelope(data=json.loads(TRANSFER)))
    assert transfer_in(file) == decode_transfer(TRANSFER)
    file.write_bytes(envelope(data=json.loads(TRANSFER), source=None))
    with pytest.raises(InvalidInput, match="not a CloudEvents envelope"):
        transfer_in(file)
    file.write_bytes(b"[" + envelope() + b"," + json.dumps(WITHDRAWAL).encode() + b"," + envelope(id=None) + b"]")
    first, second, third = events_in(file)
    assert decode_consent(first, b"p-1") == decode_consent(second, b"p-1")
    with pytest.raises(Unreadable):
        decode_consent(third, b"p-1")
