"""Quarantined records as JSON objects, and as files: JSON lines, or Parquet (which needs pyarrow)."""

import datetime as dt
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self

import msgspec

from transfer_gate.errors import InvalidInput
from transfer_gate.kafka.session import Session
from transfer_gate.printable import json_text, without_contacts
from transfer_gate.quarantine.payloads import Payload, payloads_of
from transfer_gate.quarantine.search import Filter, Found, Place, View, found_in
from transfer_gate.records import masking
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings


def described(found: Found, *, reveal: bool = False) -> dict[str, Any]:
    """A quarantined record, by its headers and the ledger; `prospect_id` (the record key) is masked unless `reveal`."""
    held, record = found.held, found.record
    return {
        "quarantine_id": held.quarantine_id,
        "place": str(Place(record.partition, record.offset)),
        "state": found.state,
        "attempt": held.attempt,
        "stage": held.stage,
        "partner": None if held.partner_id is None else without_contacts(held.partner_id),
        "channels": list(held.channels),
        "reasons": {channel: list(reasons) for channel, reasons in held.reasons.items()},
        "prospect_id": prospect(found, reveal=reveal),
        "quarantined_at": held.quarantined_at,
        "first_quarantined_at": held.first_quarantined_at,
        "source": {**msgspec.to_builtins(held.source), "time": time_of(held.source_timestamp_ms)},
        "decision_id": held.decision_id,
        "policy_revision": held.revision,
        "consent_offset": held.consent_offset,
        "replay_run": held.replay_run,
        "encrypted": held.encryption is not None,
    }


def prospect(found: Found, *, reveal: bool) -> str | None:
    """The record's key as text; masked unless `reveal`, None where the record has none."""
    if found.record.key is None:
        return None
    return found.record.key.decode(errors="backslashreplace") if reveal else masking.MASK


def shown(payload: Payload, domains: frozenset[str] = frozenset(), *, reveal: bool = False) -> Any:
    """A payload for people: masked, or as it came in, as JSON where it is JSON; None where there is nothing to show."""
    if payload.value is None:
        return None
    if not reveal:
        return masking.masked(payload.value, domains)
    try:
        return msgspec.json.decode(payload.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError):
        return payload.value.decode(errors="backslashreplace")


def shared_domains(settings: Settings) -> frozenset[str]:
    """Mail domains that many people share, so that they may be shown; none without a registry on this machine."""
    try:
        return frozenset(load_registry(settings.registry).policy.free_mail_domains)
    except InvalidInput:
        return frozenset()


def time_of(timestamp_ms: int) -> str | None:
    """RFC 3339 in UTC; None for a timestamp that is not a time (-1: the record has none)."""
    try:
        at = dt.datetime.fromtimestamp(timestamp_ms / 1000, dt.UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if timestamp_ms >= 0 else None


Format = Literal["jsonl", "parquet"]

#: Records that are opened together: opening reads the changelog of their partition once, unless no record is sealed.
#: Whichever comes first.
_CHUNK_RECORDS: Final = 20_000
_PLAIN_RECORDS: Final = 2000
_CHUNK_BYTES: Final = 32 << 20


class Rows(Protocol):
    """A file that takes rows."""

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Finish the file."""


async def export(
    session: Session,
    wanted: Filter,
    view: View,
    file: Path,
    file_format: Format,
    *,
    domains: frozenset[str] = frozenset(),
    on_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write what matches a filter in `view` to `file`, by position; returns how many records. Without records, no file.

    The file is its owner's alone, and appears when it is whole. Raises InvalidInput when it exists or can't be
    written, or the format is Parquet and pyarrow is missing; BrokerUnavailable.
    """
    open_rows = _opener(file_format)
    count = 0
    try:
        unfinished = _beside(file)
    except OSError as error:
        raise _not_writable(file, error) from None
    try:
        with open_rows(unfinished) as rows:
            async for chunk in _chunks(found_in(session, wanted, view, on_progress)):
                payloads = await payloads_of(session, chunk)
                rows.write(
                    described(record) | {"payload_condition": payload.condition, "payload": shown(payload, domains)}
                    for record, payload in zip(chunk, payloads, strict=True)
                )
                count += len(chunk)
        if count:
            unfinished.replace(file)
    except OSError as error:
        raise _not_writable(file, error) from None
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def _beside(file: Path) -> Path:
    """An empty file beside `file`, its owner's alone. Raises OSError, InvalidInput when `file` exists."""
    if file.exists():
        raise InvalidInput(f"{file} exists", do="name another file")
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return unfinished


def _not_writable(file: Path, error: OSError) -> InvalidInput:
    return InvalidInput(f"{file}: can't be written: {error.strerror}", do="name a file in a folder that can be written")


async def _chunks(found: AsyncIterator[Found]) -> AsyncIterator[list[Found]]:
    """Lists of one partition, bounded by number and by bytes."""
    chunk: list[Found] = []
    size, most = 0, _PLAIN_RECORDS
    async for item in found:
        full = len(chunk) >= most or size >= _CHUNK_BYTES
        if chunk and (full or item.record.partition != chunk[-1].record.partition):
            yield chunk
            chunk, size, most = [], 0, _PLAIN_RECORDS
        item.record.headers = ()  # read into `held`; kept, they would be half the memory of a chunk
        chunk.append(item)
        if item.held.encryption is not None:
            most = _CHUNK_RECORDS
        size += len(item.record.value or b"")
    if chunk:
        yield chunk


def _opener(file_format: Format) -> Callable[[Path], Rows]:
    if file_format == "jsonl":
        return _JsonLines
    try:
        import pyarrow as pa  # noqa: F401
    except ImportError:
        raise InvalidInput(
            "Parquet needs the library pyarrow, which is not installed",
            do="pip install 'transfer-gate[parquet]', or take --format jsonl",
        ) from None
    return _ParquetRows


class _JsonLines:
    """One JSON object a line."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("ab")

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append."""
        encode = msgspec.json.encode
        for row in rows:
            self._file.write(json_text(encode(row).decode()).encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


#: Columns of a Parquet file, one a field; what has a shape of its own, such as the payload, is JSON text.
_COLUMNS: Final = {
    "quarantine_id": "string",
    "place": "string",
    "state": "string",
    "attempt": "int32",
    "stage": "string",
    "partner": "string",
    "channels": "strings",
    "reasons": "string",
    "quarantined_at": "time",
    "first_quarantined_at": "time",
    "source": "string",
    "decision_id": "string",
    "policy_revision": "string",
    "consent_offset": "int64",
    "replay_run": "string",
    "encrypted": "bool",
    "payload_condition": "string",
    "payload": "string",
}
#: Rows of a row group: until it is written, its rows are in memory as Python objects and as Arrow's columns.
_ROWS: Final = 2000


class _ParquetRows:
    """A Parquet file that takes rows, and groups them."""

    def __init__(self, file: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        special = {"time": pa.timestamp("us", tz="UTC"), "strings": pa.list_(pa.string())}
        self._schema = pa.schema([(name, special.get(kind, kind)) for name, kind in _COLUMNS.items()])
        self._table_of = pa.Table.from_pylist
        self._writer = parquet.ParquetWriter(file, self._schema)

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append."""
        left = (_flat(row) for row in rows)
        while some := list(islice(left, _ROWS)):
            self._writer.write_table(self._table_of(some, schema=self._schema))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.close()


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    times = {name: dt.datetime.fromisoformat(row[name]) for name in ("quarantined_at", "first_quarantined_at")}
    shaped = {
        name: None if row[name] is None else msgspec.json.encode(row[name]).decode()
        for name in ("reasons", "source", "payload")
    }
    return row | times | shaped
