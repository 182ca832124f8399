"""What is wrong with a mapping of the right shape: found before a row is read, because each would reject every row."""

import codecs
from collections.abc import Iterator
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from transfer_gate.imports.event_fields import FIELDS, TYPES, fault_of, members_of, required_of
from transfer_gate.imports.mapping import EventMapping, Fields, ImportMapping, Times, Value, values_of
from transfer_gate.imports.times import TimeFormat
from transfer_gate.registry.checks import Problem
from transfer_gate.registry.yamlfile import Steps, did_you_mean

#: Fields whose ids may be made of columns. A proof is what the source has: an id that was made up proves nothing.
_MADE: Final = ("event_id", "record_id")
_CONDITIONS: Final = ("present", "absent")


def problems_in(mapping: ImportMapping) -> list[Problem]:
    """Everything that is wrong, in the order of the file."""
    found = [*_encoding(mapping), *_times(mapping.times, ("times",))]
    names: set[str] = set()
    for number, event in enumerate(mapping.events):
        place: Steps = ("events", number)
        if event.name in names:
            found.append(Problem((*place, "name"), f"{event.name} stands twice; ids are made of it"))
        names.add(event.name)
        found += [problem.under(*place) for problem in _event(event, mapping.times)]
    return found


def zone_of(times: Times) -> ZoneInfo | None:
    """The time zone. Raises ValueError when there is none of this name."""
    try:
        return None if times.zone is None else ZoneInfo(times.zone)
    except (ZoneInfoNotFoundError, OSError):
        raise ValueError("must be an IANA time zone, such as Europe/Paris") from None


def types_of(fields: Fields) -> tuple[str, ...]:
    """The types of event that these fields can make, as far as the mapping says."""
    value = fields.type
    if value.column is None:
        words = {value.constant}
    elif value.values is None:
        return tuple(TYPES)
    else:
        words = {*value.values.values(), value.default}
    return tuple(kind for kind in TYPES if kind in words)


def _encoding(mapping: ImportMapping) -> Iterator[Problem]:
    try:
        codecs.lookup(mapping.csv.encoding)
    except LookupError:
        yield Problem(("csv", "encoding"), "is not an encoding; write utf-8, cp1252 or iso-8859-15, for instance")


def _times(times: Times, path: Steps) -> Iterator[Problem]:
    try:
        zone_of(times)
    except ValueError as error:
        yield Problem((*path, "zone"), str(error))
    try:
        TimeFormat(times.format)
    except ValueError as error:
        yield Problem((*path, "format"), str(error))


def _event(event: EventMapping, times: Times) -> Iterator[Problem]:
    for column, condition in event.when.items():
        words = isinstance(condition, list) and condition and all(isinstance(word, str) for word in condition)
        if condition not in _CONDITIONS and not words:
            yield Problem(("when", column), "must be present, absent, or a list of words in quotes")
    if event.skip and event.fields is not None:
        yield Problem(("fields",), "stands beside skip: a row is either an event or none")
    if event.skip and not event.when:
        yield Problem(("skip",), "needs when, or every row would be passed over")
    if event.fields is None:
        if not event.skip:
            yield Problem(("fields",), "is required")
        return
    kinds = types_of(event.fields)
    wrong = [problem.under("fields") for problem in _fields(event.fields, kinds, times)]
    yield from wrong
    if not wrong and kinds:
        yield from (problem.under("fields") for problem in _together(event.fields, kinds, times))


def _fields(fields: Fields, kinds: tuple[str, ...], times: Times) -> Iterator[Problem]:
    allowed = frozenset().union(*(members_of(kind) for kind in kinds)) if kinds else None
    reported: set[str] = set()
    for path, name, value in values_of(fields):
        member = name.partition(".")[0]
        if allowed is not None and member not in allowed and member not in reported:
            reported.add(member)
            yield Problem((member,), f"is no field of {' or '.join(kinds)}")
        yield from (problem.under(*path) for problem in _value(name, value, times))


def _value(name: str, value: Value, times: Times) -> Iterator[Problem]:
    kind = FIELDS[name]
    given = [one for one in ("column", "constant", "uuid5") if getattr(value, one) is not None]
    if len(given) != 1:
        yield Problem((), "needs exactly one of column, constant and uuid5")
        return
    if value.uuid5 is not None and name not in _MADE:
        yield Problem(("uuid5",), f"makes ids for {' and '.join(_MADE)} only")
    if value.uuid5 == ():
        yield Problem(("uuid5",), "names no column")
    for option in ("values", "default", "separator", "time"):
        if value.column is None and getattr(value, option) is not None:
            yield Problem((option,), "needs a column")
    if value.separator is not None and kind != "list":
        yield Problem(("separator",), f"is for lists; {name} holds one value")
    if value.time is not None and kind != "time":
        yield Problem(("time",), f"is for times; {name} is none")
    if value.values is not None and kind == "time":
        yield Problem(("values",), f"can't be: {name} is a time")
    yield from _times(value.time, ("time",)) if value.time is not None else ()
    yield from _words(name, value)
    if kind == "time" and value.column is not None:
        yield from _zone(value.time or times)


def _zone(times: Times) -> Iterator[Problem]:
    try:
        needs_zone = TimeFormat(times.format).needs_zone
    except ValueError:
        return
    if needs_zone and times.zone is None:
        yield Problem((), f"times of the format {times.format} need a zone, such as Europe/Paris")


def _words(name: str, value: Value) -> Iterator[Problem]:
    """Words of the mapping itself that the gate could not read in this field."""
    for option in ("constant", "default"):
        given = getattr(value, option)
        if given is not None and (fault := fault_of(name, given)) is not None:
            yield Problem((option,), _misfit(name, given, fault))
    for word, meaning in (value.values or {}).items():
        if meaning is not None and (fault := fault_of(name, meaning)) is not None:
            yield Problem(("values", word), _misfit(name, meaning, fault))


def _misfit(name: str, given: object, fault: str) -> str:
    if name != "type":
        return f"does not fit {name}: {fault}"
    if given == "resolution":
        return "resolution is not imported: it names offsets of this cluster; see transfer-gate consent resolve"
    return f"must be one of {', '.join(TYPES)}{did_you_mean(str(given), TYPES)}"


def _together(fields: Fields, kinds: tuple[str, ...], times: Times) -> Iterator[Problem]:
    named = {name.partition(".")[0] for _, name, _ in values_of(fields)}
    if len(kinds) == 1:
        missing = sorted(required_of(kinds[0]) - named - {"event_id"})
        if missing:
            yield Problem((), f"a {kinds[0]} needs {', '.join(missing)}")
    when = fields.event_time
    dated = (when.time or times).format if when.column is not None else None
    if dated is not None and "consent" in kinds and fields.time_precise is None and not TimeFormat(dated).has_hour:
        what = "times without an hour are not precise: say time_precise: {constant: false} (rules.md, R223-2)"
        yield Problem(("event_time",), what)
