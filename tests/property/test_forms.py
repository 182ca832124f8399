"""What `records.forms` tells by code is what the patterns of the published schema say, also at a line break."""

import copy
import json
import re
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.scenarios import CLEAN
from transfer_gate.records.forms import COUNTRIES, is_email, is_phone
from transfer_gate.records.transfers import SchemaInvalid, decode_transfer
from transfer_gate.schemas.records import schemas


def _pattern(part: str, member: str) -> str:
    schema = schemas()["transfer"]["$defs"][part]["properties"][member]
    return str(next(one["pattern"] for one in (schema, *schema.get("anyOf", ())) if "pattern" in one))


#: Texts near and far: digits of other scripts, white space of every kind, a line break behind.
_TEXTS: Final = st.text(alphabet="+@.09aAZÉß٣\u00a0\u2028\n\r\t \x1c", max_size=18)


def _near(pattern: str) -> st.SearchStrategy[str]:
    fitting = st.from_regex(pattern)
    return st.one_of(_TEXTS, fitting, fitting.map(str.strip), fitting.map(str.lower), fitting.map("{}\n".format))


@pytest.mark.parametrize(
    ("part", "member", "holds"),
    [
        ("Subject", "country", COUNTRIES.__contains__),
        ("PostalPoint", "country", COUNTRIES.__contains__),
        ("EmailPoint", "value", is_email),
        ("PhonePoint", "value", is_phone),
    ],
)
@settings(deadline=None)
@given(st.data())
def test_a_form_is_what_the_pattern_of_the_schema_says(
    part: str, member: str, holds: Callable[[str], bool], data: st.DataObject
) -> None:
    pattern = _pattern(part, member)
    text = data.draw(_near(pattern))
    # ECMA 262, to which JSON Schema refers, knows no line break behind `$`; Python's `fullmatch` doesn't, either.
    fits = re.fullmatch(pattern.removeprefix("^").removesuffix("$"), text) is not None
    # The canonical form of an address asks more than a pattern can: test_addresses.py.
    assert holds(text) is fits or (holds is is_email and fits)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("subject", "country"), "FR\n"),
        (("subject", "country"), "fr"),
        (("contact", "email", "value"), "anna@example.org\n"),
        (("contact", "email", "value"), "anna@@example.org"),
        (("contact", "phone", "value"), "+33199001122\n"),
        (("contact", "phone", "value"), "0199001122"),
        (("contact", "phone", "value"), "+3319900112٣"),
        (("contact", "postal", "country"), "FR\n"),
        (("channels",), ["email", "email"]),
        (("partner_ids",), ["acme", "acme"]),
    ],
)
def test_a_transfer_of_another_form_is_not_read_and_the_field_is_named_without_its_value(
    place: tuple[str, ...], value: Any
) -> None:
    transfer = copy.deepcopy(CLEAN["transfer"])
    of = transfer
    for name in place[:-1]:
        of = of.setdefault(name, {})
    of[place[-1]] = value
    of.setdefault("lines", ["1 rue de l'Exemple"])
    with pytest.raises(SchemaInvalid, match=rf"^{'.'.join(place)}: ") as refused:
        decode_transfer(json.dumps(transfer).encode())
    assert not isinstance(value, str) or value not in str(refused.value)


def test_a_live_call_needs_its_category() -> None:
    transfer = CLEAN["transfer"] | {"channels": ["live_call"], "offer_category": None}
    with pytest.raises(SchemaInvalid, match=r"^offer_category: "):
        decode_transfer(json.dumps(transfer).encode())
