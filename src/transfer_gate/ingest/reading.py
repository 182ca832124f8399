"""Bodies to records of `consent-events`. Whatever a body holds, every event in it ends as one of four: a consent event,
passed over because its mapping or its regulation says so, an unreadable event of its prospect, or one of nobody's.
"""

import base64
import datetime as dt
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import Struct

from transfer_gate.imports.mapper import MappedEvent, Mapper
from transfer_gate.imports.mapping import ImportMapping
from transfer_gate.imports.readers import Cells, Read, Readers, Rejection, word_of
from transfer_gate.ingest.source import ITEM, WHOLE_BODY, Regulation, Source
from transfer_gate.records.forms import is_unidentified
from transfer_gate.records.ids import imported_id
from transfer_gate.records.input_json import names_twice

#: Most entries of one list of events: each may make records.
MOST_ITEMS: Final = 1000
#: Longest `prospect_id` (contract section 3).
_LONGEST_ID: Final = 128
_encode: Final = msgspec.json.Encoder().encode

OURS: Final = "ours"
OTHER: Final = "other"
#: No type of consent event: whatever the body holds, the record stays unreadable.
TYPE: Final = "unmapped"


class Unmapped(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag=TYPE):
    """An event that could not be mapped, with what its platform sent.

    `item` counts the entries of the list of events from 0; `body` is what was sent, or that entry of it; it is in
    base64 where it is no text. `sha256` is that of the whole body.
    """

    event_id: str
    source: str
    reason: str
    received_at: dt.datetime
    sha256: str
    prospect_id: str | None = None
    item: int | None = None
    body: str | None = None
    body_base64: str | None = None


class UnmappedRecord(Struct, frozen=True):
    """A record of an unmapped event; `key` is None where its prospect is not known. `reason` repeats nothing of it."""

    key: bytes | None
    value: bytes
    event_id: str
    reason: str


class Reading(Struct, frozen=True, kw_only=True):
    """What a body held. Every record in it has to be written before the body is acknowledged."""

    events: Sequence[MappedEvent] = ()
    """Consent events."""
    unreadable: Sequence[UnmappedRecord] = ()
    """Events that could not be mapped, of known prospects."""
    of_nobody: UnmappedRecord | None = None
    """The body, where it holds an event whose prospect is not known: it is kept, and refused."""
    passed_over: int = 0
    """Events that the mapping leaves out on purpose."""
    other_regulation: int = 0
    """Events of another regulation."""


class _Fault(Exception):
    """Why a body holds no rows; repeats nothing of it."""

    def __init__(self, reason: str, row: Any = None) -> None:
        super().__init__(reason)
        self.reason = reason
        #: What of it may still name prospects.
        self.row = row


class BodyReader:
    """Reads bodies of one source. `nobody`: the policy's `unidentified_ids`."""

    def __init__(self, source: Source, nobody: AbstractSet[str] = frozenset()) -> None:
        self._name, self._items = source.source, source.items
        self._mapper = Mapper(source.mapping, None, nobody)
        self._prospects = _Prospects(source.mapping, nobody)
        self._regulation = _Regulations(source.regulation)

    def read(self, body: bytes, received_at: dt.datetime) -> Reading:
        """Read one body. Never raises for what it holds."""
        try:
            rows = self._rows(body)
        except _Fault as fault:
            return self._unreadable(fault, body, received_at)
        events: list[MappedEvent] = []
        faults: list[tuple[int, Any, str]] = []
        passed_over = other_regulation = 0
        for number, row in enumerate(rows):
            try:
                if self._regulation.of(row) == OTHER:
                    other_regulation += 1
                    continue
                made = self._mapper.events(row)
            except Rejection as rejection:
                faults.append((number, row, _explained(rejection)))
            else:
                events += made
                passed_over += not made
        unreadable, of_nobody = self._unmapped(faults, body, received_at, alone=len(rows) == 1)
        return Reading(
            events=events,
            unreadable=unreadable,
            of_nobody=of_nobody,
            passed_over=passed_over,
            other_regulation=other_regulation,
        )

    def _rows(self, body: bytes) -> list[dict[str, Any]]:
        """The objects that events are mapped from: the body, or one for each entry of its list."""
        try:
            found = msgspec.json.decode(body)
            twice = names_twice(body)
        except (ValueError, RecursionError, MemoryError):  # msgspec's errors are ValueErrors, and so are those of UTF-8
            raise _Fault("the body is not JSON in UTF-8") from None
        if twice:
            raise _Fault("a member is named twice (RFC 8259 section 4)", found)
        if self._items == WHOLE_BODY:
            if not isinstance(found, list):
                raise _Fault("the body is not a list", {ITEM: found})
            return _bounded([{ITEM: entry} for entry in found], found)
        if not isinstance(found, dict):
            raise _Fault("the body is not an object")
        if self._items is None:
            return [found]
        entries = _member(found, self._items)
        if entries is None or entries == []:
            return [{name: member for name, member in found.items() if name != ITEM}]
        if not isinstance(entries, list):
            raise _Fault(f"{self._items}: is not a list", found)
        return _bounded([found | {ITEM: entry} for entry in entries], found)

    def _unmapped(
        self, faults: list[tuple[int, Any, str]], body: bytes, at: dt.datetime, *, alone: bool
    ) -> tuple[list[UnmappedRecord], UnmappedRecord | None]:
        """An unreadable event of each prospect of a row that could not be mapped, the first of each is enough."""
        records: dict[str, UnmappedRecord] = {}
        of_nobody: UnmappedRecord | None = None
        for number, row, reason in faults:
            prospects = self._prospects.of(row)
            if not prospects and of_nobody is None:
                of_nobody = unmapped(self._name, f"{reason}; its prospect is not known", body, at)
            for prospect in prospects:
                if prospect in records:
                    continue
                part = None if alone else _part(row)
                item = None if alone else number
                records[prospect] = unmapped(self._name, reason, body, at, prospect_id=prospect, item=item, part=part)
        return list(records.values()), of_nobody

    def _unreadable(self, fault: _Fault, body: bytes, at: dt.datetime) -> Reading:
        """A body as a whole: kept, and of all prospects that it may be about."""
        found = fault.row if isinstance(fault.row, list) else [fault.row]
        rows = [row if isinstance(row, dict) else {ITEM: row} for row in found[:MOST_ITEMS]]
        prospects = dict.fromkeys(prospect for row in rows for prospect in self._prospects.of(row))
        return Reading(
            unreadable=[
                unmapped(self._name, fault.reason, body, at, prospect_id=prospect, part=b"" if number else None)
                for number, prospect in enumerate(prospects)
            ],
            of_nobody=unmapped(self._name, fault.reason, body, at),
        )


def _bounded(rows: list[dict[str, Any]], found: Any) -> list[dict[str, Any]]:
    if len(rows) > MOST_ITEMS:
        raise _Fault(f"more than {MOST_ITEMS} events in one body", found)
    return rows


def _part(row: dict[str, Any]) -> bytes:
    """The entry of a list of events, as it was understood."""
    try:
        return _encode(row.get(ITEM))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return b""


def _explained(rejection: Rejection) -> str:
    return rejection.reason if rejection.column is None else f"{rejection.reason} ({rejection.column})"


def _member(value: Any, path: str) -> Any:
    for step in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


class _Prospects:
    """Whom a row may be about: wherever an event of the mapping would look for its prospect."""

    def __init__(self, mapping: ImportMapping, nobody: AbstractSet[str]) -> None:
        self._cells, self._nobody = Cells(mapping, None), nobody
        reads: dict[str, Read] = {}
        for event in mapping.events:
            if event.fields is not None:
                value = event.fields.prospect_id
                reads[value.model_dump_json()] = Readers(mapping, event, self._cells).value("prospect_id", value)
        self._reads = list(reads.values())

    def of(self, row: Any) -> list[str]:
        """Their ids, none where the row names nobody."""
        try:
            cells = self._cells.of(row)
        except (ValueError, TypeError, RecursionError):
            return []
        found: dict[str, None] = {}
        for read in self._reads:
            try:
                prospect = read(cells)
                if isinstance(prospect, str) and 0 < len(prospect) <= _LONGEST_ID:
                    prospect.encode()
                    if not is_unidentified(prospect, self._nobody):
                        found[prospect] = None
            except (Rejection, ValueError):
                continue
        return list(found)


class _Regulations:
    """Whether rows are of the regulation that the mapping is written for."""

    def __init__(self, given: Regulation) -> None:
        self._column, self._default = given.column, given.default
        self._ours, self._others = (frozenset(w.strip().casefold() for w in ws) for ws in (given.ours, given.others))

    def of(self, row: dict[str, Any]) -> str:
        """`ours` or `other`. Raises Rejection for a word that stands in neither list."""
        if self._column is None:
            return OURS
        found = _member(row, self._column)
        if found is None or found == "":
            if self._default is None:
                raise Rejection("regulation: is absent", self._column)
            found = self._default
        word = word_of(found).strip().casefold() if isinstance(found, (str, int)) else ""
        if word in self._ours:
            return OURS
        if word in self._others:
            return OTHER
        raise Rejection("regulation: a word that is neither in ours nor in others", self._column)


def unmapped(
    source: str,
    reason: str,
    body: bytes,
    received_at: dt.datetime,
    *,
    prospect_id: str | None = None,
    item: int | None = None,
    part: bytes | None = None,
) -> UnmappedRecord:
    """The record of an event that could not be mapped; `part` is what is kept of a body that holds several."""
    digest = sha256(body).hexdigest()
    made_of = _encode([digest, item, prospect_id]).decode()
    event_id = imported_id(source, TYPE, made_of)
    event = Unmapped(
        event_id=event_id,
        source=source,
        reason=reason,
        received_at=received_at,
        sha256=digest,
        prospect_id=prospect_id,
        item=item,
        **_kept(body if part is None else part),
    )
    key = None if prospect_id is None else prospect_id.encode()
    return UnmappedRecord(key, _encode(event), event_id, reason)


def _kept(body: bytes) -> dict[str, str]:
    """As text where it is text that JSON does not make much longer than base64 would."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = None
    if text is not None and len(_encode(text)) <= len(body) * 4 // 3 + 4:
        return {"body": text}
    return {"body_base64": base64.b64encode(body).decode()}
