"""What a consent event is made of (contract section 3): the fields of each type, and what a value of each may be.

Fields are read from `model.consent`, so that a mapping can name whatever the gate reads, and nothing else. Times are
ISO 8601, seconds of Unix time, or a pattern of numbers such as `%d/%m/%Y %H:%M`; without an offset they are read in a
time zone. As rules.md 1.1 asks, one that occurs twice is its first occurrence, and one that was skipped is read with
the offset before the change; this is what `fold=0` means (PEP 495).
"""

import datetime as dt
import re
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from zoneinfo import ZoneInfo

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
from transfer_gate.model.terms import UTC

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


ISO: Final = "iso"
DATE: Final = "date"
#: Formats that are numbers, and how many of them make a second.
EPOCHS: Final = {"epoch_seconds": 1, "epoch_milliseconds": 1000, "epoch_microseconds": 1_000_000}

#: Directive of strptime: its digits, and the argument of datetime that it gives. Names of months depend on a locale.
_NUMBERS: Final = {
    "Y": (r"(?P<year>\d{4})", "year"),
    "m": (r"(?P<month>\d{1,2})", "month"),
    "d": (r"(?P<day>\d{1,2})", "day"),
    "H": (r"(?P<hour>\d{1,2})", "hour"),
    "M": (r"(?P<minute>\d{1,2})", "minute"),
    "S": (r"(?P<second>\d{1,2})", "second"),
    "f": (r"(?P<microsecond>\d{1,6})", "microsecond"),
}
_OFFSET: Final = r"(?P<offset>[Zz]|[+-]\d{2}:?\d{2})"
_ISO_DATE: Final = re.compile(r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})", re.ASCII)
#: RFC 3339, with a space for the T and without its offset as well.
_ISO_TIME: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?([Zz]|[+-]\d{2}:?\d{2})?", re.ASCII
)


class NotATime(ValueError):
    """A value that is not a time of the format; the text says why, and never repeats the value."""


Read = Callable[[Any], dt.datetime]


class TimeFormat:
    """A format of times, checked.

    `has_hour`: it has the hour. `needs_zone`: nothing that it reads says its offset.
    """

    def __init__(self, text: str) -> None:
        """Raises ValueError when there is no such format."""
        self.text = text
        self.has_hour = text != DATE and (text == ISO or text in EPOCHS or "%H" in text)
        self.needs_zone = text == DATE or (text != ISO and text not in EPOCHS and "%z" not in text)
        if text == ISO:
            self._read_text: Callable[[str], dt.datetime] = _iso
        elif text in EPOCHS:
            self._read_text = _epoch(EPOCHS[text])
        else:
            self._read_text = _by(_ISO_DATE if text == DATE else _compiled(text), text)

    def reader(self, zone: ZoneInfo | None) -> Read:
        """A function that reads one value: text, a number for Unix time, or a date and time of Parquet.

        It raises NotATime.
        """
        read_text = self._read_text
        form, takes_numbers, takes_dates = self.text, self.text in EPOCHS, self.text == DATE

        def read(value: Any) -> dt.datetime:
            kind = value.__class__
            if kind is str:
                found = read_text(value)
            elif kind is dt.datetime:
                found = value
            elif kind is dt.date and takes_dates:
                found = dt.datetime(value.year, value.month, value.day)  # noqa: DTZ001 - gets its zone below
            elif takes_numbers and kind in (int, float):
                found = read_text(str(value))
            else:
                raise NotATime(f"not a time of the format {form}")
            if found.tzinfo is None:
                if zone is None:
                    raise NotATime("has no offset, and the mapping names no zone")
                found = found.replace(tzinfo=zone)
            return found

        return read


def _compiled(text: str) -> re.Pattern[str]:
    pattern, seen, at = "", set(), 0
    while at < len(text):
        if text[at] != "%":
            pattern += re.escape(text[at])
            at += 1
            continue
        letter = text[at + 1 : at + 2]
        if letter in seen:
            raise ValueError(f"%{letter} stands twice")
        seen.add(letter)
        if letter == "z":
            pattern += _OFFSET
        elif letter in _NUMBERS:
            pattern += _NUMBERS[letter][0]
        else:
            raise ValueError(f"%{letter} is not known; known are %Y %m %d %H %M %S %f %z")
        at += 2
    if not {"Y", "m", "d"} <= seen:
        known = ", ".join((ISO, DATE, *EPOCHS))
        raise ValueError(f"must be one of {known}, or a pattern with %Y, %m and %d such as %d/%m/%Y %H:%M")
    if seen & {"M", "S", "f"} and not {"H", "M"} <= seen:
        raise ValueError("has a part of an hour without %H and %M")
    return re.compile(pattern, re.ASCII)


def _by(pattern: re.Pattern[str], text: str) -> Callable[[str], dt.datetime]:
    match, given = pattern.fullmatch, pattern.groupindex
    names = [name for name in ("year", "month", "day", "hour", "minute") if name in given]
    others = [name for name in ("second", "microsecond", "offset") if name in given]

    def read(value: str) -> dt.datetime:
        found = match(value)
        if found is None:
            raise NotATime(f"not a time of the format {text}")
        try:
            time = dt.datetime(*map(int, found.group(*names)))  # type: ignore[arg-type] # noqa: DTZ001 - gets its zone later
            if others:
                more: dict[str, Any] = {}
                if "second" in given:
                    more["second"] = int(found["second"])
                if "microsecond" in given:
                    more["microsecond"] = int(found["microsecond"].ljust(6, "0"))
                if "offset" in given:
                    more["tzinfo"] = _offset(found["offset"])
                time = time.replace(**more)
        except ValueError:
            raise NotATime("no calendar has this time") from None
        return time

    return read


def _offset(text: str) -> dt.timezone:
    if text in "Zz":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return dt.timezone(dt.timedelta(minutes=-minutes if text[0] == "-" else minutes))


def _iso(value: str) -> dt.datetime:
    if not _ISO_TIME.fullmatch(value):
        raise NotATime("not a time of the format iso, such as 2024-03-05T18:00:00+01:00")
    try:
        return dt.datetime.fromisoformat(value.upper())
    except ValueError:
        raise NotATime("no calendar has this time") from None


def _epoch(unit: int) -> Callable[[str], dt.datetime]:
    begin = dt.datetime(1970, 1, 1, tzinfo=UTC)

    def read(value: str) -> dt.datetime:
        try:
            # By integers where it can be: a float has no room for microseconds of this century.
            if value.lstrip("-").isdecimal():
                return begin + dt.timedelta(microseconds=int(value) * (1_000_000 // unit))
            return begin + dt.timedelta(seconds=float(value) / unit)
        except (ValueError, OverflowError):
            raise NotATime("not a number of Unix time") from None

    return read
