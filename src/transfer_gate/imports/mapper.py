"""Rows to consent events, by a mapping: the hot path of an import, so everything is looked up before the first row.

What comes out was read by the gate's own decoder: what it could not read is a rejected row, never an event.
"""

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

import msgspec

from transfer_gate.imports.event_fields import TYPES, members_of
from transfer_gate.imports.mapping import EventMapping, ImportMapping, values_of
from transfer_gate.imports.readers import Cells, Constant, Read, Readers, Rejection, Row, condition
from transfer_gate.records.consents import Unreadable, decode_consent
from transfer_gate.records.ids import imported_id
from transfer_gate.records.input_json import without_values

#: Largest event that is made, bytes: a person's whole state has 512 KiB (contract section 3).
LARGEST_EVENT: Final = 256 << 10

_PLACE: Final = re.compile(r" - at `\$\.?([a-z_]*)(?:\.([a-z_]+))?.*`$")
_MISSING: Final = re.compile(r"missing required field `(\w+)`$")
_encode: Final = msgspec.json.Encoder().encode


class MappedEvent(NamedTuple):
    """A record of `consent-events`."""

    kind: str
    key: bytes
    value: bytes


class Mapper:
    """Maps rows; `columns` are their names where rows are sequences of cells, None where they are JSON objects."""

    def __init__(
        self, mapping: ImportMapping, columns: Sequence[str] | None, nobody: AbstractSet[str] = frozenset()
    ) -> None:
        self._cells = Cells(mapping, columns)
        self._events = [_EventMaker(mapping, event, self._cells, nobody) for event in mapping.events]

    def events(self, row: Row) -> list[MappedEvent]:
        """The events of one row, none where the mapping passes over it on purpose. Raises Rejection."""
        try:
            return self._events_of(row)
        except UnicodeEncodeError:
            raise Rejection("holds bytes that are not of its encoding") from None
        except (ArithmeticError, TypeError, ValueError, RecursionError) as error:
            # A number, a time or a nesting beyond what an event can hold: one row must not end an import.
            raise Rejection(f"holds a value that no event can hold ({type(error).__name__})") from None

    def _events_of(self, row: Row) -> list[MappedEvent]:
        found, applies, cells = [], False, self._cells.of(row)
        for event in self._events:
            for holds in event.conditions:
                if not holds(cells):
                    break
            else:
                applies = True
                if event.makes_events:
                    found.append(event.make(cells))
        if not applies:
            raise Rejection("no event of the mapping applies to this row")
        return found


class _Plan:
    """The members of an event of one type: those that are the same in every row, and those that are read."""

    def __init__(self, kind: str, members: Sequence[tuple[str, Read]]) -> None:
        own = [(name, read) for name, read in members if name in members_of(kind)]
        self.constants = {"type": kind} | {name: read.value for name, read in own if isinstance(read, Constant)}
        self.columns = [(name, read) for name, read in own if not isinstance(read, Constant)]


class _EventMaker:
    """Makes the events of one entry of the mapping."""

    def __init__(self, mapping: ImportMapping, event: EventMapping, cells: Cells, nobody: AbstractSet[str]) -> None:
        self.conditions = [condition(cells.place(column), wanted) for column, wanted in event.when.items()]
        self.makes_events = event.fields is not None
        self._nobody = nobody
        self._source, self._of_event = mapping.source, f"event_id:{event.name}"
        if event.fields is not None:
            self._columns = {
                name: value.column for _, name, value in values_of(event.fields) if value.column is not None
            }
            self._makes_id = event.fields.event_id is None
            readers = Readers(mapping, event, cells)
            self._type = readers.value("type", event.fields.type)
            every = readers.members(event.fields)
            self._by_type = {kind: _Plan(kind, every) for kind in TYPES}

    def make(self, cells: list[Any]) -> MappedEvent:
        kind = self._type(cells)
        plan = self._by_type.get(kind)
        if plan is None:
            raise Rejection("type: not a type of consent event that is imported", self._columns.get("type"))
        members = plan.constants.copy()
        try:
            for name, read in plan.columns:
                member = read(cells)
                if member is not None:
                    members[name] = member
            value = _encode(members)
            if self._makes_id:
                event_id = imported_id(self._source, self._of_event, value.decode())
                value = b'{"event_id":"%b",%b' % (event_id.encode(), value[1:])
            key = members["prospect_id"].encode()
            decode_consent(value, key, self._nobody)
        except Rejection as rejection:
            rejection.kind = kind
            raise
        except Unreadable as error:
            raise self._unreadable(str(error), kind) from None
        except KeyError:
            raise Rejection("prospect_id: is absent", self._columns.get("prospect_id"), kind) from None
        except UnicodeEncodeError:
            raise Rejection("holds bytes that are not of its encoding", kind=kind) from None
        if len(value) > LARGEST_EVENT:
            raise Rejection(f"makes an event of more than {LARGEST_EVENT >> 10} KiB", kind=kind)
        return MappedEvent(kind, key, value)

    def _unreadable(self, text: str, kind: str) -> Rejection:
        """What the decoder says, by the names of the mapping."""
        fault = without_values(text)
        found = _PLACE.search(fault)
        missing = _MISSING.search(fault)
        if missing is not None:
            name = missing[1]
            return Rejection(f"{name}: is absent", self._columns.get(name), kind)
        if found is None:
            return Rejection(fault, kind=kind)
        name = found[1] if found[2] is None else f"{found[1]}.{found[2]}"
        return Rejection(f"{name}: {fault[: found.start()]}", self._columns.get(name), kind)
