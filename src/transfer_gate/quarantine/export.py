"""Quarantined records as a file, masked: JSON lines, or Parquet for who analyses many."""

import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self

import msgspec

from transfer_gate.errors import InvalidInput
from transfer_gate.printable import json_text
from transfer_gate.quarantine.browse import View, found_in
from transfer_gate.quarantine.describe import described, shown
from transfer_gate.quarantine.payloads import payloads_of
from transfer_gate.quarantine.selection import Filter, Found
from transfer_gate.settings import Settings

Format = Literal["jsonl", "parquet"]

#: Records that are opened together: opening reads the changelog of their partition once, unless none is sealed.
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
    settings: Settings,
    wanted: Filter,
    view: View,
    file: Path,
    file_format: Format,
    *,
    domains: frozenset[str] = frozenset(),
    seen: Callable[[int], None] = lambda _: None,
) -> int:
    """Write what a filter means in `view` to `file`, by place; returns how many records. Without any, there is no file.

    The file is its owner's alone, and appears when it is whole. Raises InvalidInput when it exists or can't be
    written, or Parquet is asked for without pyarrow; BrokerUnavailable.
    """
    open_rows = _opener(file_format)
    count = 0
    try:
        unfinished = _beside(file)
    except OSError as error:
        raise _not_writable(file, error) from None
    try:
        with open_rows(unfinished) as rows:
            async for chunk in _chunks(found_in(settings, wanted, view, seen)):
                payloads = await payloads_of(settings, chunk)
                rows.write(
                    described(one) | {"payload_condition": payload.condition, "payload": shown(payload, domains)}
                    for one, payload in zip(chunk, payloads, strict=True)
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
    async for one in found:
        full = len(chunk) >= most or size >= _CHUNK_BYTES
        if chunk and (full or one.record.partition != chunk[-1].record.partition):
            yield chunk
            chunk, size, most = [], 0, _PLAIN_RECORDS
        one.record.headers = ()  # read into `held`; kept, they would be half the memory of a chunk
        chunk.append(one)
        if one.held.encryption is not None:
            most = _CHUNK_RECORDS
        size += len(one.record.value or b"")
    if chunk:
        yield chunk


def _opener(file_format: Format) -> Callable[[Path], Rows]:
    if file_format == "jsonl":
        return _JsonLines
    try:
        from transfer_gate.quarantine.parquet import ParquetRows
    except ImportError:
        raise InvalidInput(
            "Parquet needs the library pyarrow, which is not installed",
            do="pip install 'transfer-gate[parquet]', or take --format jsonl",
        ) from None
    return ParquetRows


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
