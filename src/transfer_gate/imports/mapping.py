"""The mapping file of an import: which consent events the rows of a file are, in a form that people review.

Every field of an event is a `Value`: a column, a constant, or an id made of columns. `imports.checks` finds what is
wrong with a mapping of the right shape, `imports.mapper` maps rows by it.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator
from pydantic import Field as PydanticField

from transfer_gate.model.reviewed import Flag, Frozen, Reviewed, Text, Word, nothing
from transfer_gate.registry.yamlfile import Steps


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
