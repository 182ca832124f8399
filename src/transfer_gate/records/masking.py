"""What may be shown of a payload to an operator who only has to know why it is quarantined.

Everything is hidden but what the contract gives a closed form or an open word that says nothing about the person; a
word that repeats a hidden value is hidden too. Fails closed: what is not listed here is counted, never shown.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, get_args

import msgspec

from transfer_gate.model.consent import ConsentStatus, Indication, LawfulBasis
from transfer_gate.model.terms import CHANNELS
from transfer_gate.printable import without_contacts

#: Stands for what is hidden.
MASK: Final = "***"
#: How many members of an object are not shown.
OTHERS: Final = "(other fields)"

_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}", re.ASCII)
_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}", re.ASCII)
_CODE: Final = re.compile(r"[A-Z]{2}", re.ASCII)
_PART: Final = re.compile(r"\w{4,}")
#: Shorter hidden values are found in any word.
_LEAST: Final = 4

_SUBJECTS: Final = ("consumer", "professional", "legal_person")
_POINTS: Final = ("personal", "professional", "role", "mobile", "landline")
_CONTACTS: Final = ("click", "reply", "order", "login", "inbound_call", "form", "open", "delivery")
_EVENTS: Final = ("consent", "withdrawal", "objection", "erasure", "restriction", "restriction_lifted", "resolution")


def email(value: str, domains: frozenset[str] = frozenset()) -> str:
    """The first letter of an address, and its domain where that is one of many people (`domains`, in lower case)."""
    local, at, domain = value.rpartition("@")
    if not at or len(local) < _LEAST:
        local = ""
    return f"{local[:1]}{MASK}@{domain if domain.lower() in domains else MASK}"


def phone(value: str) -> str:
    """About the country and the last two digits."""
    return f"{value[:3]}{MASK}{value[-2:]}" if value.startswith("+") and len(value) >= 10 else MASK


def postal_code(value: str) -> str:
    """The first two characters: in France, the département."""
    return f"{value[:2]}{MASK}" if len(value) >= _LEAST else MASK


def masked(payload: bytes, domains: frozenset[str] = frozenset()) -> Any:
    """A payload as a JSON value that identifies no person; bytes that are no JSON are only counted."""
    try:
        value = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError):
        return f"{MASK} ({len(payload)} bytes that are not JSON)"
    hidden: set[str] = set()
    try:
        return _without(_shown(value, _PAYLOAD, hidden, domains), hidden)
    except RecursionError:  # the decoder follows lists deeper than this does
        return f"{MASK} ({len(payload)} bytes of JSON that nest too deeply)"


class _Open(str):
    """An open word, shown unless it repeats something hidden."""

    __slots__ = ()


_Show = Callable[[Any], str | None]


def _one_of(words: tuple[str, ...]) -> _Show:
    return lambda value: value if value in words else None


def _open_word(value: Any) -> str | None:
    # An id of digits alone may be a phone number.
    shown = isinstance(value, str) and _WORD.fullmatch(value) and without_contacts(value) == value
    return _Open(value) if shown else None


def _country(value: Any) -> str | None:
    return value if isinstance(value, str) and _CODE.fullmatch(value) else None


def _time(value: Any) -> str | None:
    try:
        found: dt.datetime = msgspec.convert(value, dt.datetime, strict=True)
    except msgspec.ValidationError:
        return None
    return found.isoformat() if found.tzinfo else None


def _flag(value: Any) -> Any:
    return value if isinstance(value, bool) else None


def _offset(value: Any) -> Any:
    return value if type(value) is int else None


#: Members that may be shown: how, or the members below; a list shows its members so. None names any member.
_Layout = Mapping[str | None, Any]
_PAYLOAD: Final[_Layout] = {
    "event_id": _open_word,
    "type": _one_of(_EVENTS),
    "requested_at": _time,
    "event_time": _time,
    "prospect_id": None,
    "partner_ids": _open_word,
    "channels": _one_of(CHANNELS),
    "purpose": _open_word,
    "offer_category": _open_word,
    "use_until": _time,
    "notice_version": _open_word,
    "collected_at": _time,
    "last_active_contact": {"at": _time, "type": _one_of(_CONTACTS)},
    "subject": {"kind": _one_of(_SUBJECTS), "country": _country, "birth_date": None, "job": None},
    "contact": {
        "email": {"value": email, "type": _one_of(_POINTS)},
        "phone": {"value": phone, "type": _one_of(_POINTS)},
        "postal": {"lines": None, "postal_code": postal_code, "city": None, "country": _country},
    },
    "attributes": {None: None},
    "source": {"role": _one_of(("primary_collector", "reseller")), "chain": _open_word},
    "source_restricted": _flag,
    "partner_roles": {None: _one_of(("controller", "processor"))},
    "bloctel": {"listed": _flag, "checked_at": _time},
    "contract": {
        "holder": _open_word,
        "status": _one_of(("ongoing", "ended")),
        "object": _open_word,
        "ends_at": _time,
    },
    "inbound_request": {"at": _time, "partner_ids": _open_word, "object": _open_word},
    "record_id": _open_word,
    "state": _one_of(get_args(ConsentStatus)),
    "lawful_basis": _one_of(get_args(LawfulBasis)),
    "indication": _one_of(get_args(Indication)),
    "purposes": _open_word,
    "party_ids": _open_word,
    "offer_categories": _open_word,
    "partner_list_version": _open_word,
    "scope": {"channels": _one_of((*CHANNELS, "all")), "party_ids": _open_word, "purposes": _open_word},
    "resolves": _offset,
}


def _shown(value: Any, layout: Any, hidden: set[str], domains: frozenset[str]) -> Any:
    """`value` as far as `layout` shows it; what it does not show goes into `hidden`."""
    if value is None:
        return None
    if isinstance(layout, Mapping) and isinstance(value, dict):
        return _members(value, layout, hidden, domains)
    if isinstance(value, list) and callable(layout) and layout not in (email, phone, postal_code):
        return [_shown(member, layout, hidden, domains) for member in value]
    if layout in (email, phone, postal_code):
        hidden.update(_texts(value))
        if not isinstance(value, str):
            return MASK
        return email(value, domains) if layout is email else layout(value)
    found = layout(value) if callable(layout) and not isinstance(value, dict | list) else None
    if found is None:
        hidden.update(_texts(value))
        return MASK
    return found


def _members(value: dict[str, Any], layout: _Layout, hidden: set[str], domains: frozenset[str]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    others = 0
    for name, member in value.items():
        if name in layout:
            shown[name] = _shown(member, layout[name], hidden, domains)
        elif None in layout and _NAME.fullmatch(name):
            shown[_Open(name)] = _shown(member, layout[None], hidden, domains)
        else:
            hidden.update(_texts(member), () if _NAME.fullmatch(name) else _texts(name))
            others += 1
    return shown | {OTHERS: others} if others else shown


def _texts(value: Any) -> Iterator[str]:
    """Every text in a hidden value, and the words in it, in one case; without recursion, however deep it is."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list):
            waiting += part
        elif part is not None and not isinstance(part, bool):
            text = str(part).casefold()
            if len(text) >= _LEAST:
                yield text
                yield from _PART.findall(text)


def _without(shown: Any, hidden: set[str]) -> Any:
    """`shown` without open words that repeat something hidden."""
    if isinstance(shown, _Open):
        text = shown.casefold()
        return MASK if any(secret in text for secret in hidden) else str(shown)
    if isinstance(shown, list):
        return [_without(member, hidden) for member in shown]
    if isinstance(shown, dict):
        return {_without(name, hidden): _without(member, hidden) for name, member in shown.items()}
    return shown
