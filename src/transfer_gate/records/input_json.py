"""JSON of the input topics (RFC 8259, UTF-8 only), as far as transfers and consent events have it in common.

Exceptions name places; of a wrong word of a closed list msgspec quotes the word, which helps the author of a case file
and is to be shown to no other: see `without_values`.
"""

import re
from typing import Any, Final

import msgspec
import orjson

#: Members whose own members are names of others' choice: null there is a value, and no value that fits.
_MAPS: Final = frozenset({"attributes", "partner_roles"})
NAMED_TWICE: Final = "a member is named twice (RFC 8259 section 4)"


class UnreadableRecord(Exception):
    """An input record that can't be read; the text says where."""


def without_nulls(value: Any) -> Any:
    """The value without the null members of its objects."""
    if isinstance(value, dict):
        return {
            name: member if name in _MAPS else without_nulls(member)
            for name, member in value.items()
            if member is not None
        }
    return [without_nulls(member) for member in value] if isinstance(value, list) else value


def without_values(text: str) -> str:
    """The text of an UnreadableRecord without the word that it may quote: an input may hold personal data."""
    wrong, at, place = text.rpartition(" - at ")
    kind = re.split(r"['\"]", wrong or place, maxsplit=1)[0].rstrip()
    return f"{kind}{at}{place}" if wrong else kind


def is_json(raw: bytes) -> bool:
    """Whether the bytes are JSON at all."""
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return True


def reason_of(error: Exception) -> str:
    """What a decoder found wrong; of other errors only the kind."""
    return str(error) if type(error) in (msgspec.ValidationError, msgspec.DecodeError) else type(error).__name__
