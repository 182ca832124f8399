"""The mapping file of an import: which consent events the rows of a file are, in a form that people review.

Every field of an event is a `Value`: a column, a constant, or an id made of columns. `load_mapping` finds what is wrong
with a file and where, `imports.mapper` maps rows by it.
"""

import codecs
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator
from pydantic import Field as PydanticField

from transfer_gate.errors import InvalidInput
from transfer_gate.imports.event_fields import FIELDS, TYPES, TimeFormat, fault_of, members_of, required_of
from transfer_gate.model.reviewed import Flag, Frozen, Reviewed, Text, Word, nothing
from transfer_gate.registry.checks import Problem
from transfer_gate.registry.parse import parse_object
from transfer_gate.registry.yamlfile import Document, Steps, did_you_mean, load


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class Times(Reviewed):
    """How times are written."""

    zone: Word | None = None
    """IANA name of the time zone of times without an offset, such as `Europe/Paris`."""
    format: Text = "iso"
    """`iso`, `date`, `epoch_seconds`, `epoch_milliseconds`, `epoch_microseconds`, or a pattern (`%d/%m/%Y %H:%M`)."""


class Value(Reviewed):
    """Where the value of a field comes from: exactly one of `column`, `constant` and `uuid5`."""

    column: Text | None = None
    """A column by its name in the header; in JSON lines and Parquet, a dotted path leads into objects."""
    constant: Any = None
    """The same for every row."""
    uuid5: tuple[Text, ...] | None = None
    """`event_id` and `record_id` only: a UUIDv5 of these columns, the same in every import."""
    values: Frozen[str, Any] | None = None
    """Value table: what stands in the column to what it means; null means absent. Any other word rejects the row."""
    default: Any = None
    """What stands for an absent value."""
    separator: Annotated[str, PydanticField(min_length=1, max_length=8)] | None = None
    """Lists only: what stands between the members of a text."""
    time: Times | None = None
    """Times only: another format or zone than the file's."""


#: The parts of a list, one after the other: a column each, as a rule.
Values = Annotated[tuple[Value, ...], BeforeValidator(_as_list)]


class ProofFields(Reviewed):
    """`proof` of a consent."""

    proof_id: Value | None = None
    text_hash: Value | None = None
    individual: Value | None = None
    collector: Value | None = None
    kept_until: Value | None = None


class GuardianFields(Reviewed):
    """`guardian` of a consent."""

    party_id: Value | None = None
    event_time: Value | None = None
    proof_id: Value | None = None


class ScopeFields(Reviewed):
    """`scope` of a withdrawal or an objection."""

    channels: Values = ()
    party_ids: Values = ()
    purposes: Values = ()


class SlotFields(Reviewed):
    """One of `call_slots` of a consent."""

    from_: Value | None = PydanticField(default=None, alias="from")
    to: Value | None = None


class Fields(Reviewed):
    """The fields of a consent event (contract section 3)."""

    type: Value
    event_id: Value | None = None
    """Without it, the id is made of everything that the event says."""
    prospect_id: Value
    event_time: Value
    record_id: Value | None = None
    state: Value | None = None
    lawful_basis: Value | None = None
    indication: Value | None = None
    purposes: Values = ()
    channels: Values = ()
    party_ids: Values = ()
    offer_categories: Values = ()
    partner_list_version: Value | None = None
    notice_version: Value | None = None
    validity: Value | None = None
    time_precise: Value | None = None
    guardian: GuardianFields | None = None
    special_categories: Values = ()
    call_slots: tuple[SlotFields, ...] = ()
    proof: ProofFields | None = None
    scope: ScopeFields | None = None


class EventMapping(Reviewed):
    """One event that a row may hold."""

    name: Word
    """Part of the ids that are made for this event."""
    when: Frozen[str, Any] = PydanticField(default_factory=nothing)
    """Column to `present`, `absent` or a list of words: the event is made of rows where all of these hold."""
    skip: Flag = False
    """Rows where `when` holds hold no event, on purpose."""
    fields: Fields | None = None


class Csv(Reviewed):
    """How a CSV file is written (RFC 4180, with other separators)."""

    delimiter: Annotated[str, PydanticField(min_length=1, max_length=1)] | None = None
    """Default: a comma; a tab for a file that ends in `.tsv`."""
    quote: Annotated[str, PydanticField(min_length=1, max_length=1)] = '"'
    encoding: Word = "utf-8"


class ImportMapping(Reviewed):
    """A whole mapping file."""

    source: Word
    """Names the system that the file comes from: part of every id that is made."""
    csv: Csv = Csv()
    times: Times = Times()
    absent: tuple[str, ...] = ("",)
    """Texts that stand for an absent value, spaces around them left out."""
    events: Annotated[tuple[EventMapping, ...], PydanticField(min_length=1)]


def values_of(fields: BaseModel, path: Steps = (), name: str = "") -> Iterator[tuple[Steps, str, Value]]:
    """Every value of an event with its place in the file and the dotted name of its field, such as `proof.proof_id`."""
    for attribute, info in type(fields).model_fields.items():
        key = info.alias or attribute
        found, place = getattr(fields, attribute), (*path, key)
        dotted = f"{name}.{key}" if name else key
        for step, part in enumerate(found) if isinstance(found, tuple) else ((None, found),):
            inside = place if step is None else (*place, step)
            if isinstance(part, Value):
                yield inside, dotted, part
            elif isinstance(part, BaseModel):
                yield from values_of(part, inside, dotted)


def columns_of(mapping: ImportMapping) -> Mapping[str, Steps]:
    """Every column that the mapping reads, with the place of its first mention in the file."""
    found: dict[str, Steps] = {}
    for number, event in enumerate(mapping.events):
        place: Steps = ("events", number)
        for column in event.when:
            found.setdefault(column, (*place, "when", column))
        for path, _, value in values_of(event.fields, (*place, "fields")) if event.fields else ():
            for column in (value.column,) if value.column is not None else value.uuid5 or ():
                found.setdefault(column, path)
    return found


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


class MappingFile:
    """A mapping that was read from a file and holds together; problems with a data file can name its lines."""

    def __init__(self, document: Document, mapping: ImportMapping, sha256: str) -> None:
        self._document = document
        self.mapping = mapping
        #: Of the bytes of the file, hex.
        self.sha256 = sha256

    @property
    def path(self) -> Path:
        """The file."""
        return self._document.path

    def invalid(self, problems: list[Problem]) -> InvalidInput:
        """The error that names file, line and field of each problem."""
        return invalid_mapping(self._document, problems)


def invalid_mapping(document: Document, problems: list[Problem]) -> InvalidInput:
    """The error that names file, line and field of each problem."""
    listed = "\n".join(f"  {document.error(problem.path, problem.what)}" for problem in problems)
    return InvalidInput(f"the mapping {document.path} is wrong:\n{listed}", do="see docs/how-to/bring-your-consents.md")


def load_mapping(path: Path) -> MappingFile:
    """Read a mapping file and check it.

    Raises InvalidInput with a line `file:line: field: what is wrong` for everything that is wrong.
    """
    document = load(path)
    mapping, problems = parse_object(ImportMapping, document.value)
    if mapping is not None:
        problems = problems_in(mapping)
    if mapping is None or problems:
        raise invalid_mapping(document, problems)
    return MappingFile(document, mapping, hashlib.sha256(path.read_bytes()).hexdigest())
