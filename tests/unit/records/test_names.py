"""Quotation marks tell exactly whether a record holds anything that was not read of it."""

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfer_gate.model.consent import (
    ConsentEvent,
    ConsentGiven,
    Erasure,
    Objection,
    Resolution,
    Restriction,
    RestrictionLifted,
    Withdrawal,
)
from transfer_gate.model.transfer import Transfer
from transfer_gate.records.consents import Unreadable, decode_consent
from transfer_gate.records.input_json import quotes_of_consent, quotes_of_transfer
from transfer_gate.records.transfers import Undecodable, decode_transfer

AT: Final = "2026-05-01T00:00:00Z"
TRANSFER: Final[dict[str, Any]] = {
    "event_id": "t-1",
    "requested_at": AT,
    "prospect_id": "p-1",
    "partner_ids": ["acme", "lumen"],
    "channels": ["email", "sms", "postal"],
    "purpose": "direct_marketing",
    "offer_category": "insurance",
    "use_until": AT,
    "notice_version": "n-1",
    "collected_at": AT,
    "last_active_contact": {"at": AT, "type": "click", "measured_with_consent": True},
    "subject": {"kind": "consumer", "birth_date": "1980-05-01", "country": "FR", "job": "architect"},
    "contact": {
        "email": {"value": "someone@example.org", "type": "personal"},
        "phone": {"value": "+33639980000", "type": "mobile"},
        "postal": {"lines": ["1 rue Haute", "2e"], "postal_code": "44000", "city": "Nantes", "country": "FR"},
    },
    "attributes": {"first_name": "Luce", "owner": True, "rooms": 3, "area": 51.5},
    "source": {"role": "primary_collector", "chain": ["devis"]},
    "source_restricted": False,
    "partner_roles": {"acme": "controller", "lumen": "processor"},
    "bloctel": {"listed": False, "checked_at": AT},
    "contract": {"holder": "acme", "status": "ongoing", "object": "insurance", "ends_at": AT},
    "inbound_request": {
        "at": AT,
        "partner_ids": ["acme"],
        "object": "insurance",
        "proof_id": "x",
        "proof_kept_until": AT,
    },
}
COMMON: Final[dict[str, Any]] = {"event_id": "c-1", "prospect_id": "p-1", "event_time": AT}
CONSENT: Final[dict[str, Any]] = COMMON | {
    "type": "consent",
    "record_id": "r-1",
    "state": "given",
    "lawful_basis": "consent",
    "indication": "signature",
    "purposes": ["direct_marketing"],
    "channels": ["email", "sms"],
    "party_ids": ["acme", "lumen"],
    "offer_categories": ["insurance"],
    "partner_list_version": "l-1",
    "notice_version": "n-1",
    "validity": "P1Y",
    "time_precise": False,
    "guardian": {"party_id": "g-1", "event_time": AT, "proof_id": "y"},
    "special_categories": ["health"],
    "call_slots": [{"from": AT, "to": AT}],
    "proof": {"proof_id": "x", "text_hash": "h", "individual": True, "collector": "devis", "kept_until": AT},
}
SCOPE: Final = {"channels": ["email", "sms"], "party_ids": ["acme"], "purposes": ["direct_marketing"]}
RESOLUTION: Final[dict[str, Any]] = COMMON | {
    "type": "resolution",
    "resolves": [1, 2],
    "history": True,
    "by": "b",
    "why": "w",
}
OPPOSED: Final[list[dict[str, Any]]] = [
    COMMON | {"type": "withdrawal", "scope": SCOPE},
    COMMON | {"type": "objection", "scope": {"channels": "all", "party_ids": "all", "purposes": "all"}},
    COMMON | {"type": "erasure"},
    COMMON | {"type": "restriction"},
    COMMON | {"type": "restriction_lifted"},
]
EVENTS: Final[list[dict[str, Any]]] = [CONSENT, RESOLUTION, *OPPOSED]

Path = tuple[str | int, ...]


def paths(value: Any, above: Path = ()) -> Iterator[Path]:
    """Every member at any depth."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        if isinstance(name, str):
            yield (*above, name)
        yield from paths(member, (*above, name))


def without(value: Any, path: Path) -> Any:
    copy = json.loads(json.dumps(value))
    inside = copy
    for step in path[:-1]:
        inside = inside[step]
    del inside[path[-1]]
    return copy


def quotes(value: dict[str, Any]) -> tuple[int, int]:
    """What is there, and what was read."""
    raw = msgspec.json.encode(value)
    if "type" in value:
        return raw.count(b'"'), quotes_of_consent(msgspec.json.decode(raw, type=ConsentEvent))
    return raw.count(b'"'), quotes_of_transfer(msgspec.json.decode(raw, type=Transfer))


def fields_of(kind: Any) -> Iterator[str]:
    """Names of the members of a type and of those inside it."""
    found = msgspec.inspect.type_info(kind)
    for part in found.types if isinstance(found, msgspec.inspect.UnionType) else (found,):
        if isinstance(part, msgspec.inspect.StructType):
            if part.tag_field:
                yield part.tag_field
            for field in part.fields:
                yield field.encode_name
                yield from fields_of_info(field.type)


def fields_of_info(info: Any) -> Iterator[str]:
    if isinstance(info, msgspec.inspect.StructType):
        yield from fields_of(info.cls)
    elif isinstance(info, msgspec.inspect.UnionType):
        for part in info.types:
            yield from fields_of_info(part)
    elif isinstance(info, msgspec.inspect.VarTupleType):
        yield from fields_of_info(info.item_type)


@pytest.mark.parametrize(
    ("examples", "kinds"),
    [
        ([TRANSFER], [Transfer]),
        ([CONSENT], [ConsentGiven]),
        ([RESOLUTION], [Resolution]),
        (OPPOSED, [Withdrawal, Objection, Erasure, Restriction, RestrictionLifted]),
    ],
)
def test_the_examples_have_every_member_that_there_is(examples: list[dict[str, Any]], kinds: list[Any]) -> None:
    named = {str(path[-1]) for example in examples for path in paths(example)}
    missing = {name for kind in kinds for name in fields_of(kind)} - named
    assert not missing, "add it here, and to wire.names"


@pytest.mark.parametrize("value", [TRANSFER, *EVENTS])
def test_each_member_counts_as_what_it_is(value: dict[str, Any]) -> None:
    there, read = quotes(value)
    assert there == read
    for path in paths(value):
        try:
            there, read = quotes(without(value, path))
        except msgspec.ValidationError:
            continue  # required
        assert there == read, path


@pytest.mark.parametrize("times", [1, 2, 4, 8])
@pytest.mark.parametrize("text", ["\\u0022", "\\u0022x", "x\\u0022", "\\u005c\\u0022", "\\u005c\\u005c", '\\"', "\\\\"])
def test_quotation_marks_inside_of_a_text_hide_no_second_member(text: str, times: int) -> None:
    for second in (b'"purpose":"x",', b'"source_restricted":true,', b'"attributes":{},'):
        raw = msgspec.json.encode(TRANSFER).replace(b'"direct_marketing"', b'"%b"' % (text * times).encode())
        assert decode_transfer(raw).purpose == json.loads(f'"{text * times}"')
        with pytest.raises(Undecodable):
            decode_transfer(raw.replace(b"{", b"{" + second, 1))


@given(st.data())
def test_a_second_member_of_a_name_is_seen_at_any_place_and_in_any_layout(data: st.DataObject) -> None:
    value = data.draw(st.sampled_from([TRANSFER, *EVENTS]))
    for path in data.draw(st.lists(st.sampled_from(list(paths(value))), max_size=3)):
        try:
            smaller = without(value, path)
            quotes(smaller)
        except (KeyError, IndexError, TypeError, msgspec.ValidationError):
            continue
        value = smaller
    path = data.draw(st.sampled_from(list(paths(value))))
    layout = data.draw(st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : "), (",\n", ":\n")]))
    marked = json.loads(json.dumps(value))
    inside = marked
    for step in path[:-1]:
        inside = inside[step]
    name = str(path[-1])
    inside["SECOND"] = data.draw(st.sampled_from([inside[name], None, "x", 7, [], {}]))
    raw = json.dumps(marked, separators=layout).replace('"SECOND"', json.dumps(name)).encode()
    if "requested_at" in value:
        with pytest.raises(Undecodable):
            decode_transfer(raw)
    else:
        with pytest.raises(Unreadable):
            decode_consent(raw, b"p-1")
