"""Masking: whatever a payload holds, nothing personal survives; what the contract gives a closed form is shown."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfer_gate.records import masking
from transfer_gate.records.masking import MASK, OTHERS, masked

#: Members of a payload that say nothing about the person; every word that they may hold is known here.
HARMLESS: Final = {
    "event_id": "t-1",
    "requested_at": "2026-10-05T09:59:00+02:00",
    "partner_ids": ["acme-assurances"],
    "channels": ["email", "live_call"],
    "purpose": "direct_marketing",
    "offer_category": "insurance",
    "source": {"role": "reseller", "chain": ["mag-loisirs"]},
    "partner_roles": {"acme-assurances": "controller"},
    "bloctel": {"listed": False, "checked_at": "2026-10-05T09:59:00+02:00"},
}
#: Longer than what may be shown of a value, and made of letters that no harmless word has next to each other.
PERSONAL: Final = st.text(alphabet="xyzXYZéß' 木", min_size=6, max_size=30).filter(lambda text: len(text.strip()) > 5)
ANYTHING: Final = st.recursive(
    PERSONAL | st.integers(min_value=10**6) | st.floats(min_value=1e6, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PERSONAL, inner, max_size=3),
    max_leaves=8,
)
PEOPLE: Final = st.fixed_dictionaries(
    {
        "prospect_id": ANYTHING,
        "subject": st.fixed_dictionaries({"birth_date": ANYTHING, "job": ANYTHING}) | ANYTHING,
        "contact": st.fixed_dictionaries(
            {
                "email": st.fixed_dictionaries({"value": ANYTHING, "type": ANYTHING}),
                "phone": st.fixed_dictionaries({"value": ANYTHING}),
                "postal": st.fixed_dictionaries({"lines": ANYTHING, "city": ANYTHING, "postal_code": ANYTHING}),
            }
        )
        | ANYTHING,
        "attributes": st.dictionaries(PERSONAL | st.just("first_name"), ANYTHING, max_size=4) | ANYTHING,
    }
)


def leaves(value: Any) -> Iterator[str]:
    """Every text and number of a value, names of members included."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for member in value:
            yield from leaves(member)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


@given(person=PEOPLE, others=st.dictionaries(PERSONAL, ANYTHING, max_size=3))
def test_no_value_about_a_person_survives(person: dict[str, Any], others: dict[str, Any]) -> None:
    """Wherever it stands, whatever its type; and what is harmless is still there."""
    told = masked(json.dumps(HARMLESS | others | person).encode())
    text = "\n".join(leaves(told))
    known = {"birth_date", "job", "email", "phone", "postal", "value", "type", "lines", "city", "postal_code"}
    for secret in {*leaves(person), *leaves(others)} - known - {*person, "first_name"}:
        assert secret not in text
    assert HARMLESS.items() <= told.items()
    assert told.get(OTHERS, 0) == len(others)


@given(name=PERSONAL.filter(str.isalpha), place=st.sampled_from(["event_id", "purpose", "notice_version", "record_id"]))
def test_an_open_word_that_repeats_a_hidden_value_is_hidden(name: str, place: str) -> None:
    """A source that builds its ids from names gives nobody away."""
    told = masked(json.dumps({place: f"id-{name.upper()}-7", "attributes": {"last_name": name}}).encode())
    assert told[place] == MASK


@given(st.binary(max_size=200) | PERSONAL.map(str.encode))
def test_bytes_of_any_kind_are_masked_without_an_error(payload: bytes) -> None:
    """What is no JSON is counted; a JSON value that is no object is hidden."""
    told = masked(payload)
    assert told is None or isinstance(told, dict) or told.startswith(MASK)


@pytest.mark.parametrize("payload", [b"[" * 100_000, b"[" * 900 + b"]" * 900, b'{"contact":' * 900 + b"1" + b"}" * 900])
def test_depth_is_no_way_through(payload: bytes) -> None:
    """Neither an error nor a leak."""
    assert masked(payload)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("claire.martin@gmail.com", "c***@gmail.com"),
        ("claire.martin@Gmail.com", "c***@Gmail.com"),
        ("claire@martin.example", "c***@***"),
        ("jo@gmail.com", "***@gmail.com"),
        ("no address", "***@***"),
    ],
)
def test_an_address_keeps_its_domain_only_where_many_share_it(value: str, shown: str) -> None:
    """A domain of one's own is a name."""
    assert masking.email(value, frozenset({"gmail.com"})) == shown


@pytest.mark.parametrize(("value", "shown"), [("+33199000042", "+33***42"), ("+3319", MASK), ("0199000042", MASK)])
def test_a_number_keeps_country_and_two_digits(value: str, shown: str) -> None:
    """A short one nothing."""
    assert masking.phone(value) == shown


@given(st.text(max_size=12))
def test_a_postal_code_is_never_whole(value: str) -> None:
    """Two characters at most."""
    assert masking.postal_code(value) in (MASK, f"{value[:2]}{MASK}")


def test_a_consent_event_shows_what_it_is() -> None:
    """Enough to see that it was a withdrawal, and of what."""
    event = {"type": "withdrawal", "scope": {"channels": "all"}, "event_time": "2026-10-05T09:59:00+00:00"}
    assert masked(json.dumps(event | {"prospect_id": "p-1"}).encode()) == event | {"prospect_id": MASK}


@pytest.mark.parametrize("member", ["partner_ids", "scope", "attributes"])
@pytest.mark.parametrize("depth", [100, 600, 950])
def test_a_payload_that_nests_deeply_is_masked(member: str, depth: int) -> None:
    """The decoder follows more levels than a walk in Python."""
    value = f'{"[" * depth}"claire@courriel.example"{"]" * depth}'
    within = f'{{"party_ids": {value}}}' if member == "scope" else value
    shown = masked(f'{{"{member}": {within}}}'.encode())
    assert "claire" not in str(shown)
