"""What a consent event is made of (contract section 3): the fields of each type, and what a value of each may be.

Read from `model.consent`, so that a mapping can name whatever the gate reads, and nothing else.
"""

import datetime as dt
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from transfer_gate.model.consent import (
    CallSlot,
    ConsentGiven,
    Erasure,
    Guardian,
    Objection,
    Proof,
    Restriction,
    RestrictionLifted,
    Scope,
    Withdrawal,
)

Kind = Literal["text", "time", "flag", "list"]

#: Events that a file may hold. A `resolution` names offsets of this cluster: `transfer-gate consent resolve` writes it,
#: after it has looked at what stands there.
TYPES: Final[Mapping[str, type[Struct]]] = {
    "consent": ConsentGiven,
    "withdrawal": Withdrawal,
    "objection": Objection,
    "erasure": Erasure,
    "restriction": Restriction,
    "restriction_lifted": RestrictionLifted,
}
#: Types that take something from who may use the data.
FORBIDDING: Final = frozenset(TYPES) - {"consent", "restriction_lifted"}
_NESTED: Final[Mapping[str, type[Struct]]] = {
    "proof": Proof,
    "guardian": Guardian,
    "scope": Scope,
    "call_slots": CallSlot,
}


def members_of(kind: str) -> frozenset[str]:
    """Names of the fields of one type of event, `type` among them, nested ones by their first part."""
    return frozenset({"type", *(field.encode_name for field in msgspec.structs.fields(TYPES[kind]))})


def required_of(kind: str) -> frozenset[str]:
    """Fields without which the gate can't read an event of this type."""
    return frozenset({"type", *(field.encode_name for field in msgspec.structs.fields(TYPES[kind]) if field.required)})


def _flat() -> dict[str, Any]:
    found: dict[str, Any] = {"type": str}
    for event in TYPES.values():
        for field in msgspec.structs.fields(event):
            nested = _NESTED.get(field.encode_name)
            if nested is None:
                found[field.encode_name] = field.type
            else:
                parts = msgspec.structs.fields(nested)
                found |= {f"{field.encode_name}.{part.encode_name}": part.type for part in parts}
    return found


def _kind(annotation: Any) -> Kind:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin in (Union, UnionType):
        kinds = [_kind(part) for part in get_args(annotation) if part is not type(None)]
        return "list" if "list" in kinds else kinds[0]
    if origin is tuple:
        return "list"
    return "time" if annotation is dt.datetime else "flag" if annotation is bool else "text"


#: Every field of every type by its dotted name, such as `proof.kept_until`, to its type in `model.consent`.
_ANNOTATIONS: Final = _flat()
FIELDS: Final[Mapping[str, Kind]] = {name: _kind(annotation) for name, annotation in _ANNOTATIONS.items()}


def fault_of(name: str, value: Any) -> str | None:
    """Why a value that a mapping gives to a field, or to a member of its list, does not fit; None where it does."""
    if name == "type":
        return None if value in TYPES else "no such type"
    given = [value] if FIELDS[name] == "list" and not isinstance(value, list) and value != "all" else value
    try:
        msgspec.convert(given, _ANNOTATIONS[name])
    except msgspec.ValidationError as error:
        return str(error).partition(" - at ")[0]
    return None
