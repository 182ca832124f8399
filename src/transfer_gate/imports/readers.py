"""Functions that read a part of a consent event from a row, made once from a mapping, called for every row."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

import msgspec

from transfer_gate.imports.event_fields import FIELDS, NotATime, TimeFormat
from transfer_gate.imports.mapping import EventMapping, Fields, ImportMapping, SlotFields, Times, Value, zone_of
from transfer_gate.records.ids import imported_id

#: Texts of lists that are not taken apart again: a file repeats a few of them.
_REMEMBERED: Final = 4096
#: Digits of the longest index of a list that a path may name.
_INDEX_DIGITS: Final = 6
_FLAGS: Final = {"true": True, "false": False, "1": True, "0": False}
_encode: Final = msgspec.json.Encoder(decimal_format="string").encode

#: A row: the cells in the order of the columns, or a JSON object.
Row = Sequence[Any] | Mapping[str, Any]
Read = Callable[[Any], Any]


class Rejection(Exception):
    """A row that is no event; `reason` repeats nothing of it. `kind` is the type of event where it was known."""

    def __init__(self, reason: str, column: str | None = None, kind: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.column = column
        self.kind = kind


class Cells:
    """The cells of a row that a mapping reads: text without spaces around it, None where it is absent."""

    def __init__(self, mapping: ImportMapping, columns: Sequence[str] | None) -> None:
        self.absent = frozenset(text.strip() for text in mapping.absent)
        self._columns = None if columns is None else {name: place for place, name in enumerate(columns)}
        self._places: dict[str, int] = {}
        self._getters: list[Read] = []

    def place(self, column: str) -> int:
        """Where the cell of a column will stand in `of`."""
        if column not in self._places:
            self._places[column] = len(self._getters)
            self._getters.append(self._getter(column))
        return self._places[column]

    def of(self, row: Row) -> list[Any]:
        """The cells of a row, by their places."""
        absent = self.absent
        return [
            (None if (text := cell.strip()) in absent else text) if cell.__class__ is str else cell
            for get in self._getters
            for cell in (get(row),)
        ]

    def _getter(self, column: str) -> Read:
        if self._columns is None:
            return _member_at(column, lambda row: row)
        if column in self._columns:
            return itemgetter(self._columns[column])
        first, _, rest = column.partition(".")
        return _member_at(rest, itemgetter(self._columns[first]))


def _member_at(path: str, start: Read) -> Read:
    """Reads a member by its name as it stands, else along its dots; a number leads into a list, 0 to its first."""
    steps = path.split(".")

    def read(row: Any) -> Any:
        value = start(row)
        if not isinstance(value, dict):
            return None
        if path in value or len(steps) == 1:
            return value.get(path)
        for step in steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isdecimal() and len(step) <= _INDEX_DIGITS and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value

    return read


class Constant:
    """A reader of what is the same in every row."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, _row: Any) -> Any:
        """Read it."""
        return self.value


def condition(place: int, wanted: Any) -> Callable[[list[Any]], bool]:
    """Whether the cell at a place is `present`, `absent`, or one of some words."""
    if wanted == "present":
        return lambda cells: cells[place] is not None
    if wanted == "absent":
        return lambda cells: cells[place] is None
    words = frozenset(word.strip() for word in wanted)

    def holds(cells: list[Any]) -> bool:
        cell = cells[place]
        return word_of(cell) in words if cell is not None else "" in words

    return holds


class Readers:
    """Makes functions that read a field of an event from the cells of a row: None where it is absent.

    They raise Rejection.
    """

    def __init__(self, mapping: ImportMapping, event: EventMapping, cells: Cells) -> None:
        self._mapping, self._event, self._cells = mapping, event, cells

    def members(self, fields: Fields) -> list[tuple[str, Read]]:
        """The top-level members of an event but its type, in the order of the contract."""
        found: list[tuple[str, Read]] = []
        for name, info in type(fields).model_fields.items():
            given = getattr(fields, name)
            if name == "type" or given is None or given == ():
                continue
            if name == "call_slots":
                found.append((name, self._slots(given)))
            elif isinstance(given, Value):
                found.append((name, self.value(name, given)))
            elif isinstance(given, tuple):
                found.append((name, self._list(name, given)))
            else:
                found.append((info.alias or name, self._object(name, given)))
        return found

    def value(self, name: str, value: Value) -> Read:
        """One value of the field `name`, which is dotted, such as `proof.proof_id`."""
        if value.uuid5 is not None:
            return self._made(name, value.uuid5)
        if value.column is None:
            return Constant(_as_member(name, value.constant))
        return self._column(name, value, _CONVERTERS[FIELDS[name]](self, value))

    def _object(self, name: str, part: Any) -> Read:
        members: list[tuple[str, Read]] = []
        for attribute, info in type(part).model_fields.items():
            key, given = info.alias or attribute, getattr(part, attribute)
            if isinstance(given, Value):
                members.append((key, self.value(f"{name}.{key}", given)))
            elif given:
                members.append((key, self._list(f"{name}.{key}", given)))

        constants = {key: read.value for key, read in members if isinstance(read, Constant)}
        columns = [(key, read) for key, read in members if not isinstance(read, Constant)]
        if not columns:
            return Constant(constants or None)

        def read(cells: list[Any]) -> Any:
            found = constants.copy()
            for key, read_part in columns:
                value = read_part(cells)
                if value is not None:
                    found[key] = value
            return found or None

        return read

    def _slots(self, slots: tuple[SlotFields, ...]) -> Read:
        each = [self._object("call_slots", slot) for slot in slots]

        def read(cells: list[Any]) -> Any:
            return [slot for read_slot in each if (slot := read_slot(cells)) is not None] or None

        return read

    def _list(self, name: str, parts: tuple[Value, ...]) -> Read:
        each = [self.value(name, part) for part in parts]
        if len(each) == 1:
            return each[0]

        def read(cells: list[Any]) -> Any:
            found: dict[Any, None] = {}
            for read_part in each:
                part = read_part(cells)
                if part == "all":
                    return part
                for word in part if isinstance(part, list) else () if part is None else (part,):
                    found[word] = None
            return list(found) or None

        return read

    def _made(self, name: str, columns: tuple[str, ...]) -> Read:
        places = [self._cells.place(column) for column in columns]
        source, begin = self._mapping.source, [self._event.name] if name == "event_id" else []

        def read(cells: list[Any]) -> str:
            own = [cells[place] for place in places]
            if own.count(None) == len(own):
                raise Rejection(f"{name}: none of its columns has a value", columns[0])
            words = [cell if cell is None or cell.__class__ is str else word_of(cell) for cell in own]
            return imported_id(source, name, _encode([*begin, *words]).decode())

        return read

    def _column(self, name: str, value: Value, convert: Read) -> Read:
        column, place = value.column, self._cells.place(value.column or "")
        default, plain = _as_member(name, value.default), convert is _text

        def read(cells: list[Any]) -> Any:
            cell = cells[place]
            if cell is None:
                return default
            if plain and cell.__class__ is str:
                return cell
            try:
                # A value table may say that a word means nothing: that is an answer, and no default stands for it.
                return convert(cell)
            except (NotATime, _NoFit) as error:
                raise Rejection(f"{name}: {error}", column) from None

        return read

    def times(self, value: Value) -> Read:
        """Convert cells to times, by the value's own format or the file's."""
        times: Times = value.time or self._mapping.times
        return TimeFormat(times.format).reader(zone_of(times))

    def texts(self, value: Value) -> Read:
        """Convert cells to texts; whole numbers are taken for ids."""
        return _text if value.values is None else _table(value.values)

    def flags(self, value: Value) -> Read:
        """Convert cells to true and false."""
        return _flag if value.values is None else _table(value.values)

    def lists(self, value: Value) -> Read:
        """Convert cells to lists of words, each once; an empty list is absent."""
        one = _text if value.values is None else _table(value.values)
        separator, absent = value.separator, self._cells.absent

        def members(words: Iterable[Any]) -> list[Any] | None:
            found: dict[Any, None] = {}
            for word in words:
                if word.__class__ is str:
                    word = word.strip()  # noqa: PLW2901
                meaning = None if word is None or (word.__class__ is str and word in absent) else one(word)
                for member in meaning if isinstance(meaning, list) else () if meaning is None else (meaning,):
                    found[member] = None
            return list(found) or None

        @lru_cache(_REMEMBERED)
        def of_text(cell: str) -> list[Any] | None:
            return members(cell.split(separator) if separator else [cell])

        def read(cell: Any) -> list[Any] | None:
            if cell.__class__ is str:
                return of_text(cell)
            return members(cell if isinstance(cell, list) else [cell])

        return read


def _as_member(name: str, given: Any) -> Any:
    """A constant as its field has it: alone in a list where the field is one."""
    alone = FIELDS[name] == "list" and given is not None and given != "all" and not isinstance(given, list)
    return [given] if alone else given


class _NoFit(ValueError):
    """A cell that is not of the kind of its field; the text does not repeat it."""


def _text(cell: Any) -> str:
    if cell.__class__ is str:
        return cell
    if cell.__class__ is int:
        return str(cell)
    raise _NoFit("is not a text")


def _flag(cell: Any) -> bool:
    if cell.__class__ is bool:
        return cell
    found = _FLAGS.get(word_of(cell).casefold())
    if found is None:
        raise _NoFit("must be true, false, 1 or 0, or have a value table")
    return found


def _table(values: Mapping[str, Any]) -> Read:
    table = {word.strip(): meaning for word, meaning in values.items()}

    def read(cell: Any) -> Any:
        try:
            return table[cell if cell.__class__ is str else word_of(cell)]
        except KeyError:
            raise _NoFit("a word that is not in the value table") from None

    return read


def word_of(cell: Any) -> str:
    """A cell as one would write it in a CSV file, so that the same row makes the same ids in every format."""
    if cell.__class__ is str:
        return cell
    if cell.__class__ is bool:
        return "true" if cell else "false"
    if isinstance(cell, dt.datetime):
        return cell.isoformat()
    return str(cell) if cell.__class__ is int else _encode(cell).decode()


_CONVERTERS: Final = {
    "text": Readers.texts,
    "time": Readers.times,
    "flag": Readers.flags,
    "list": Readers.lists,
}
