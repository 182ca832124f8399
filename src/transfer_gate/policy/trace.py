"""Which facts a rule asks for: a stand-in for `Facts` that writes down what is read, under the names of rules.md."""

import datetime as dt
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, cast

import msgspec
from msgspec import Struct
from pydantic import BaseModel

from transfer_gate.model.registry import Period
from transfer_gate.model.state import Opposition
from transfer_gate.model.stops import ContactStop
from transfer_gate.policy.facts import Facts
from transfer_gate.policy.legal_time import utc

#: Where the name of a fact in the code is not the one in rules.md.
_NAMES: Final = {
    "subject": "event.subject",
    "contact": "event.contact",
    "birth_date": "event.subject.birth_date",
    "source": "event.source",
    "bloctel": "event.bloctel",
    "proof": "consent.proof",
    "guardian": "consent.guardian",
    "act": "act(c)",
    "covers": "c covers",
    "is_press": "press",
    "own_contract": "own contract",
    "call_back_until": "call-back until",
    "is_valid_at": "consent not expired",
    "is_valid_for_a_year_at_most": "consent for a year at most",
    "left_out_as_future": "consents left out as future",
    "told_of_partner": "record that the person was told of the partner",
    "partner_role": "role of the partner",
    "standing_withdrawal": "withdrawal that stands",
    "standing_objection": "objection that stands",
    "standing_erasure": "erasure that stands",
    "standing_stop": "stop of the contact point that stands",
}


def facts_read(condition: Callable[[Facts], bool], f: Facts) -> tuple[tuple[str, object], ...]:
    """Name and value of the facts that a condition asks for, in order, each where it was asked for last.

    Contact points are shown as present or absent, attributes by name only: they are the person's.
    """
    seen: dict[str, object] = {}
    condition(cast(Facts, _Witness(f, seen)))
    return tuple(seen.items())


def plain(value: object) -> Any:
    """A fact as JSON can carry it; times are RFC 3339 in UTC."""
    if isinstance(value, dt.datetime):
        return utc(value).isoformat().replace("+00:00", "Z")
    if isinstance(value, Period):
        return {"from": plain(value.from_), "to": plain(value.to)}
    if isinstance(value, AbstractSet):
        return sorted(plain(member) for member in value)
    if isinstance(value, list | tuple):
        return [plain(member) for member in value]
    if isinstance(value, Mapping):
        return {str(key): plain(member) for key, member in value.items()}
    return msgspec.to_builtins(value)


class _Witness:
    """Stands in for `Facts` before a rule."""

    def __init__(self, f: Facts, seen: dict[str, object]) -> None:
        self._f = f
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._f, name)
        path = _NAMES.get(name, name)
        if name == "view":
            return value
        if name == "is_future":
            _noted(self._f.horizon, "latest time that is not future", self._seen)
            return value
        if callable(value):
            return lambda *arguments: _noted(value(*arguments), path, self._seen)
        return _noted(value, path, self._seen)


class _Part:
    """Stands in for an object among the facts, or for a mapping of such objects; `path` is its name."""

    def __init__(self, value: Any, path: str, seen: dict[str, object]) -> None:
        self._value = value
        self._path = path
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return _noted(getattr(self._value, name), f"{self._path}.{name.rstrip('_')}", self._seen)

    def __getitem__(self, key: str) -> Any:
        return _noted(self._value[key], f"{self._path}[{key}]", self._seen)


def _noted(value: Any, path: str, seen: dict[str, object]) -> Any:
    shown = value
    if path.startswith("event.contact."):
        shown = "absent" if value is None else "present"
    elif path == "event.attributes":
        shown = sorted(value or ())
    elif _has_parts(value) and not isinstance(value, Opposition | ContactStop):
        return _Part(value, path, seen)
    seen.pop(path, None)
    seen[path] = shown
    return value


def _has_parts(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(isinstance(member, BaseModel) for member in value.values())
    return isinstance(value, Struct | BaseModel)
