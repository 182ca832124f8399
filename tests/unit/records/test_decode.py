"""Forms of input records (contract sections 2 and 3): names that stand twice, nulls, dates and ids that are none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.scenarios import CLEAN, CONSENT
from transfer_gate.model.consent import Objection, Scope
from transfer_gate.records.consents import Unreadable, decode_consent
from transfer_gate.records.input_json import names_twice
from transfer_gate.records.transfers import SchemaInvalid, Undecodable, decode_transfer

TRANSFER: dict[str, Any] = CLEAN["transfer"]
OBJECTION = {"event_id": "o-1", "prospect_id": "p-1", "type": "objection", "event_time": "2026-05-01T00:00:00Z"}


def _raw(value: Any, **dumping: Any) -> bytes:
    return json.dumps(value, **dumping).encode()


def _marked(raw: bytes | None, key: bytes | None) -> tuple[bytes, ...]:
    with pytest.raises(Unreadable) as caught:
        decode_consent(raw, key)
    return caught.value.prospects


@pytest.mark.parametrize(
    "twice",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"a": 1, "b": 2, "a": 3}',
        b'{"a" :1,"a":2}',
        b'{"a"\n:1,"a":2}',
        b'{"a"\t:1,"a"\r:2}',
        b'{"a":1,"\\u0061":2}',
        b'{"\\u0061":1,"\\u0061":2}',
        b'{"x":[{"y":{"z":1,"z":1}}]}',
        b'{"a":"\\u0022:","a":"\\u003a"}',
        b'{"a":"\\":","a":1,"b":"\\":"}',
        b'{"a":1,"a":":"}',
        b'{"a":1,"a":1,"b":[":",":",":"]}',
        b'{"a":{"b":1,"c":2},"a":{}}',
        b'{"":1,"":2}',
        '{"é":1,"\\u00e9":2}'.encode(),
    ],
)
def test_a_member_that_is_named_twice_is_seen(twice: bytes) -> None:
    assert names_twice(twice)


JSON = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(alphabet='ab":\\ \n{},[]é', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='ab":\\ é', max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : "), (",\n", ":\n")]), st.booleans())
def test_names_that_stand_once_are_never_taken_for_two(value: Any, separators: tuple[str, str], escaped: bool) -> None:
    assert not names_twice(_raw(value, separators=separators, ensure_ascii=escaped))


@given(
    st.dictionaries(st.text(alphabet='ab":\\ é', max_size=3), JSON, min_size=1, max_size=4),
    JSON,
    st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : "), (",\n", ":\n")]),
    st.booleans(),
)
def test_a_second_name_is_seen_whatever_stands_beside_it(
    members: dict[str, Any], other: Any, separators: tuple[str, str], escaped: bool
) -> None:
    def text(value: Any) -> str:
        return json.dumps(value, separators=separators, ensure_ascii=escaped)

    first = next(iter(members))
    raw = f"[{text(members)[:-1]}{separators[0]}{text(first)}{separators[1]}{text(other)}}}]"
    assert names_twice(raw.encode())


def test_a_transfer_that_names_a_member_twice_is_undecodable_even_if_it_is_invalid_too() -> None:
    text = json.dumps(TRANSFER)
    for second in ('"purpose":"direct_marketing"', '"purpose":7', '"unknown":1,"unknown":{}'):
        with pytest.raises(Undecodable, match="twice"):
            decode_transfer(f"{text[:-1]},{second}}}".encode())
    deep = text.replace('"country": "FR"', '"country":"FR","country":"FR"', 1)
    with pytest.raises(Undecodable, match="twice"):
        decode_transfer(deep.encode())


def test_an_event_that_names_a_member_twice_is_unreadable() -> None:
    raw = json.dumps(OBJECTION)[:-1] + ', "scope": {"channels": "all"}, "scope": {"channels": ["sms"]}}'
    assert _marked(raw.encode(), b"p-1") == (b"p-1",)


@pytest.mark.parametrize(
    "place",
    [(name,) for name in ("subject", "contact", "source", "attributes", "offer_category", "use_until")]
    + [("source", "chain"), ("last_active_contact",), ("inbound_request", "partner_ids")],
)
def test_an_optional_member_of_a_transfer_that_is_null_is_absent(place: tuple[str, ...]) -> None:
    full = json.loads(json.dumps(TRANSFER)) | {"inbound_request": {"partner_ids": ["acme"], "object": "renewable"}}
    without = json.loads(json.dumps(full))
    inside, outside = full, without
    for step in place[:-1]:
        inside, outside = inside[step], outside[step]
    inside[place[-1]] = None
    outside.pop(place[-1], None)
    assert decode_transfer(_raw(full)) == decode_transfer(_raw(without))


@pytest.mark.parametrize("name", ["event_id", "requested_at", "partner_ids", "channels", "purpose"])
def test_a_required_member_that_is_null_is_missing(name: str) -> None:
    with pytest.raises(SchemaInvalid):
        decode_transfer(_raw(TRANSFER | {name: None}))


def test_null_in_a_list_or_as_an_attribute_is_a_value_that_does_not_fit() -> None:
    for wrong in ({"channels": ["email", None]}, {"attributes": {"city": None}}):
        with pytest.raises(SchemaInvalid):
            decode_transfer(_raw(TRANSFER | wrong))


@pytest.mark.parametrize(
    "name", ["purposes", "channels", "party_ids", "offer_categories", "special_categories", "call_slots", "proof"]
)
def test_an_optional_member_of_a_consent_that_is_null_is_absent(name: str) -> None:
    without = {key: value for key, value in CONSENT.items() if key != name}
    assert decode_consent(_raw(CONSENT | {name: None}), b"p-1") == decode_consent(_raw(without), b"p-1")


def test_precision_that_is_null_is_the_default() -> None:
    assert decode_consent(_raw(CONSENT | {"time_precise": None}), b"p-1") == decode_consent(_raw(CONSENT), b"p-1")


@pytest.mark.parametrize(
    ("scope", "read"),
    [
        ({"party_ids": "*"}, Scope(party_ids="all")),
        ({"purposes": " ALL "}, Scope(purposes="all")),
        ({"channels": ["EMAIL", " sms "]}, Scope(channels=("email", "sms"))),
        ({"channels": ["sms", "*"]}, Scope(channels="all")),
        ({"channels": None, "party_ids": None}, Scope()),
    ],
)
def test_words_of_a_scope_are_trimmed_and_folded(scope: Any, read: Scope) -> None:
    event = decode_consent(_raw(OBJECTION | {"scope": scope}), b"p-1")
    assert isinstance(event, Objection)
    assert event.scope == read


@pytest.mark.parametrize(
    "scope", [{"channels": ["fax"]}, {"party_ids": "acme"}, {"party_ids": [7]}, {"party_ids": [""]}, "all", []]
)
def test_a_scope_of_a_wrong_type_or_with_an_unknown_channel_is_unreadable(scope: Any) -> None:
    assert _marked(_raw(OBJECTION | {"scope": scope}), b"p-1") == (b"p-1",)


@pytest.mark.parametrize("time", ["1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1999-12-31T22:59:59.999999Z"])
def test_a_date_before_the_year_2000_is_no_date(time: str) -> None:
    assert _marked(_raw(OBJECTION | {"event_time": time}), b"p-1") == (b"p-1",)


def test_the_year_2000_begins_in_paris() -> None:
    event = decode_consent(_raw(OBJECTION | {"event_time": "1999-12-31T23:00:00Z"}), b"p-1")
    assert event.event_id == "o-1"


def test_an_event_about_another_prospect_than_its_key_marks_both() -> None:
    assert _marked(_raw(OBJECTION), b"p-2") == (b"p-2", b"p-1")
    assert _marked(_raw(OBJECTION), None) == (b"p-1",)
    invalid = OBJECTION | {"event_time": "yesterday"}
    assert _marked(_raw(invalid), b"p-2") == (b"p-2", b"p-1")
    assert _marked(_raw(invalid)[:-1], b"p-2") == (b"p-2",)


@pytest.mark.parametrize("nobody", ["undefined", "NULL", " N/A ", "0", "-1", "[object Object]", "  ", "visiteur"])
@pytest.mark.parametrize("around", ["", "\u00a0", "\u2003", "\ufeff", "\u200b", "\x00", "\x1f"])
def test_an_event_of_nobody_is_unreadable_and_ties_to_nobody(nobody: str, around: str) -> None:
    """What stands around the word and can't be seen, changes nothing."""
    nobody = f"{around}{nobody}{around}"
    with pytest.raises(Unreadable) as caught:
        decode_consent(_raw(OBJECTION | {"prospect_id": nobody}), nobody.encode(), frozenset({"visiteur"}))
    assert caught.value.prospects == ()
    with pytest.raises(Unreadable) as caught:
        decode_consent(_raw(OBJECTION | {"prospect_id": nobody}), b"p-2", frozenset({"visiteur"}))
    assert caught.value.prospects == (b"p-2",)


@pytest.mark.parametrize(
    "address",
    ["claire@courriel.example,", " claire@courriel.example", "claire@[192.0.2.1]", "claire@courriel..example"],
)
def test_an_address_without_a_canonical_form_is_schema_invalid(address: str) -> None:
    contact = {"email": {"value": address, "type": "personal"}}
    with pytest.raises(SchemaInvalid, match=r"contact\.email\.value"):
        decode_transfer(_raw(TRANSFER | {"contact": contact}))


@pytest.mark.parametrize("offset", ["1099511627776", str(1 << 48), str(1 << 62), str(1 << 64), "9" * 4300])
def test_a_resolution_of_what_no_offset_is_can_not_be_read(offset: str) -> None:
    """States know events of other topics and partitions by such numbers."""
    raw = (
        '{"type": "resolution", "event_id": "x", "prospect_id": "p-1", "event_time": "2026-01-01T00:00:00Z",'
        f' "resolves": [{offset}]}}'
    )
    with pytest.raises(Unreadable):
        decode_consent(raw.encode(), b"p-1")
