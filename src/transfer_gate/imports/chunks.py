"""A file in chunks: so many rows, mapped, with what could not be."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Final

from msgspec import Struct

from transfer_gate.imports.checkpoint import Counts
from transfer_gate.imports.event_fields import FORBIDDING
from transfer_gate.imports.mapper import MappedEvent, Mapper
from transfer_gate.imports.readers import Rejection
from transfer_gate.imports.rejects import Reject
from transfer_gate.imports.rows import FileRow, FileRows

#: Rows after which others of the loop have their turn: a few milliseconds.
_TURN: Final = 200
#: What a chunk may hold, bytes: wide rows make smaller chunks.
_CHUNK_BYTES: Final = 16 << 20


class Chunk(Struct):
    """Some rows behind each other, as events and rejects, and what came of them in numbers."""

    events: list[MappedEvent]
    rejects: list[Reject]
    counts: Counts


async def chunks(rows: FileRows, mapper: Mapper, after: int, size: int) -> AsyncIterator[Chunk]:
    """The rows behind the first `after` ones, by `size`; lets the loop run every few rows."""
    chunk, by_type, held = _empty(), defaultdict[str, int](int), 0
    for row in rows.rows(after):
        try:
            events = mapper.events(row.row) if row.row is not None else _refuse(row)
        except Rejection as rejection:
            chunk.rejects.append(Reject(row.number, rejection.reason, rejection.column, rejection.kind, row.raw))
            chunk.counts.rejected += 1
            chunk.counts.rejected_may_forbid += rejection.kind is None or rejection.kind in FORBIDDING
            held += _size(row)
        else:
            if not events:
                chunk.counts.skipped += 1
            for event in events:
                chunk.events.append(event)
                by_type[event.kind] += 1
                held += len(event.value)
        chunk.counts.rows += 1
        if chunk.counts.rows == size or held > _CHUNK_BYTES:
            chunk.counts.events = dict(by_type)
            yield chunk
            chunk, by_type, held = _empty(), defaultdict(int), 0
        elif not chunk.counts.rows % _TURN:
            await asyncio.sleep(0)
    if chunk.counts.rows:
        chunk.counts.events = dict(by_type)
        yield chunk


def _empty() -> Chunk:
    return Chunk([], [], Counts())


def _size(row: FileRow) -> int:
    """About how many bytes a rejected row holds."""
    return len(row.raw) if isinstance(row.raw, bytes) else sum(len(str(cell)) for cell in row.row or row.raw)


def _refuse(row: FileRow) -> list[MappedEvent]:
    raise Rejection(row.fault)
