"""Import a file: map it chunk by chunk, write the events, save how far it came once the brokers have them.

While a chunk is on its way, the next one is mapped. At most one chunk is not in the checkpoint, which survives
`kill -9`: its events are written again, which changes no state, because folding them is a join (`policy.fold`).
"""

import asyncio
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from filelock import FileLock, Timeout
from msgspec import Struct

from transfer_gate.errors import InvalidInput, NothingMatched, RefusedByGuard
from transfer_gate.imports.event_fields import FORBIDDING
from transfer_gate.imports.mapper import MappedEvent, Mapper
from transfer_gate.imports.mapping import MappingFile, columns_of
from transfer_gate.imports.readers import Rejection
from transfer_gate.imports.rows import FileRow, FileRows, Format, Reject, RejectsFile, open_rows, rejects_beside
from transfer_gate.imports.writing import EventWriter
from transfer_gate.registry.checks import Problem
from transfer_gate.registry.yamlfile import did_you_mean
from transfer_gate.settings import Settings

_FORMAT: Final = 1


class Job(Struct, frozen=True, kw_only=True):
    """What an import is about: a checkpoint of another job is none of this one. SHA-256 in hex."""

    file_sha256: str
    mapping_sha256: str
    topic: str
    topic_id: str
    partitions: int
    partitioner: str


class Counts(Struct, kw_only=True):
    """What became of the first `rows` rows."""

    rows: int = 0
    events: dict[str, int] = {}
    skipped: int = 0
    rejected: int = 0
    #: Of the rejected: those that may have been a withdrawal, objection, erasure or restriction.
    rejected_may_forbid: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """The sum of two counts."""
        return Counts(
            rows=self.rows + other.rows,
            events=dict(Counter(self.events) + Counter(other.events)),
            skipped=self.skipped + other.skipped,
            rejected=self.rejected + other.rejected,
            rejected_may_forbid=self.rejected_may_forbid + other.rejected_may_forbid,
        )


class Checkpoint(Struct, frozen=True, kw_only=True):
    """The events of the first `counts.rows` rows are acknowledged by the brokers, their rejects are on the disk.

    `rejects_bytes`: how long the file of rejected rows was then.
    """

    job: Job
    counts: Counts
    rejects_bytes: int = 0
    finished: bool = False
    format: int = _FORMAT


_DECODER: Final = msgspec.json.Decoder(Checkpoint)
#: What is different, in words.
_ABOUT: Final = {
    "file_sha256": "the file has changed",
    "mapping_sha256": "the mapping has changed",
    "topic": "it went to another topic",
    "topic_id": "the topic was made anew",
    "partitions": "the topic has another partition count",
    "partitioner": "the partitioner is another one",
}


def load_checkpoint(path: Path, job: Job) -> Checkpoint | None:
    """The checkpoint of an earlier run of this job; None when there is none.

    Raises RefusedByGuard when it is of another job, InvalidInput when it can't be read.
    """
    try:
        found = _DECODER.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidInput(
            f"{path}: can't be read: {type(error).__name__}", do="see what it is; --restart begins a new one"
        ) from None
    changed = [text for name, text in _ABOUT.items() if getattr(found.job, name) != getattr(job, name)]
    if changed:
        raise RefusedByGuard(
            f"an import of {found.counts.rows:,} rows stands in {path}, and since then {', and '.join(changed)}",
            do="put it back to go on; or begin anew with --restart: events that are repeated change nothing",
        )
    return found


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write it, in the place of the last one: after a crash either of them is there, whole.

    Raises InvalidInput when it can't be written.
    """
    fresh = path.with_name(f"{path.name}.new")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(checkpoint))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise InvalidInput(f"{path}: can't be written: {error.strerror}", do="name a folder with --work-dir") from None


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


_HASHED: Final = 1 << 20


class Source(Struct, frozen=True, kw_only=True):
    """A file and its mapping. `folder` is where checkpoint and rejected rows go."""

    file: Path
    form: Format
    mapping: MappingFile
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """How far an import of this file came."""
        return self.folder / f"{self.file.name}.import.json"

    @property
    def rejects(self) -> Path:
        """Rows that could not be mapped."""
        return rejects_beside(self.file, self.form, self.folder)


class ReadSource:
    """A source that is open: its rows, and a mapper for them."""

    def __init__(self, source: Source, rows: FileRows, unidentified_ids: frozenset[str]) -> None:
        """Raises InvalidInput when a column of the mapping is not in the file."""
        self.rows = rows
        _require_columns(source, rows)
        self.mapper = Mapper(source.mapping.mapping, rows.columns, unidentified_ids)
        self._path, self._stat = source.file, _stat(source.file)

    def require_unchanged(self) -> None:
        """Check that the file was not written to since it was opened. Raises InvalidInput."""
        if _stat(self._path) != self._stat:
            raise InvalidInput(
                f"{self._path} was changed while it was read", do="import a file that is not written to any more"
            )


@contextmanager
def open_source(source: Source, unidentified_ids: frozenset[str]) -> Iterator[ReadSource]:
    """Open a file for its mapping. Raises InvalidInput."""
    mapping = source.mapping.mapping
    with open_rows(source.file, source.form, mapping, lambda: list(columns_of(mapping))) as rows:
        yield ReadSource(source, rows, unidentified_ids)


def job_of(source: Source, settings: Settings, writer: EventWriter, seen: Callable[[int], None]) -> Job:
    """What this import is about; reads the whole file for its hash, `seen` gets how many bytes more."""
    digest = hashlib.sha256()
    with source.file.open("rb") as file:
        while part := file.read(_HASHED):
            digest.update(part)
            seen(len(part))
    return Job(
        file_sha256=digest.hexdigest(),
        mapping_sha256=source.mapping.sha256,
        topic=settings.topics.consents,
        topic_id=writer.topic_id,
        partitions=writer.partitions,
        partitioner=settings.partitioner,
    )


class Import:
    """One import of a file, from where an earlier run of it was ended. Take it as a context: it holds a lock."""

    def __init__(self, source: Source, job: Job, *, restart: bool) -> None:
        """Raises RefusedByGuard when another job's checkpoint stands there or an import of the file runs,
        NothingMatched when it is imported already, InvalidInput when a file can't be read or written.
        """
        self._source, self._job = source, job
        self._lock = FileLock(source.folder / f".{source.file.name}.import.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RefusedByGuard(f"{source.file} is being imported", do="wait until that import is done") from None
        except OSError as error:
            raise InvalidInput(
                f"{source.folder}: can't be written: {error.strerror}", do="name a folder with --work-dir"
            ) from None
        try:
            self._begin = self._start(restart=restart)
        except BaseException:
            self.close()
            raise
        self.counts = self._begin.counts

    @property
    def resumed_after(self) -> int:
        """How many rows an earlier run has imported."""
        return self._begin.counts.rows

    def close(self) -> None:
        """Let others import the file."""
        self._lock.release()

    async def run(self, read: ReadSource, writer: EventWriter, chunk_rows: int, seen: Callable[[int], None]) -> Counts:
        """Write the events of all rows that are left; `seen` gets how much further the file was read.

        Raises aiokafka's errors; run again, it goes on behind the last chunk that was acknowledged.
        """
        rejects = RejectsFile(self._source.rejects, read.rows, self._begin.rejects_bytes)
        on_its_way: asyncio.Task[None] | None = None
        try:
            read_to = read.rows.position
            async for chunk in chunks(read.rows, read.mapper, self.resumed_after, chunk_rows):
                if on_its_way is not None:
                    await on_its_way
                on_its_way = asyncio.create_task(self._finish(chunk, read, writer, rejects))
                seen(read.rows.position - read_to)
                read_to = read.rows.position
            if on_its_way is not None:
                await on_its_way
            if self.counts.rows:
                self._note(rejects, finished=True)
        finally:
            if on_its_way is not None and not on_its_way.done():
                on_its_way.cancel()
                await asyncio.gather(on_its_way, return_exceptions=True)
            rejects.close()
        return self.counts

    async def _finish(self, chunk: Chunk, read: ReadSource, writer: EventWriter, rejects: RejectsFile) -> None:
        if chunk.events:
            await writer.write(chunk.events)
        rejects.append(chunk.rejects)
        read.require_unchanged()
        self.counts = self.counts.plus(chunk.counts)
        self._note(rejects)

    def _note(self, rejects: RejectsFile, *, finished: bool = False) -> None:
        checkpoint = Checkpoint(job=self._job, counts=self.counts, rejects_bytes=rejects.size, finished=finished)
        save_checkpoint(self._source.checkpoint, checkpoint)

    def _start(self, *, restart: bool) -> Checkpoint:
        place = self._source.checkpoint
        if restart:
            place.unlink(missing_ok=True)
        found = load_checkpoint(place, self._job)
        if found is None:
            if not restart and self._source.rejects.exists():
                raise InvalidInput(f"{self._source.rejects} exists", do="move it away, or overwrite it with --restart")
            return Checkpoint(job=self._job, counts=Counts())
        if found.finished:
            raise NothingMatched(
                f"{self._source.file} is imported already: {found.counts.rows:,} rows",
                do="nothing is to be done; --restart imports it once more, which changes no state",
            )
        return found


def _require_columns(source: Source, rows: FileRows) -> None:
    if rows.columns is None:
        return
    wrong = []
    for column, place in columns_of(source.mapping.mapping).items():
        names = rows.columns.count(column)
        if names > 1:
            wrong.append(Problem(place, f"column {column} stands {names} times in {source.file.name}"))
        elif not names and (source.form == "csv" or column.partition(".")[0] not in rows.columns):
            hint = did_you_mean(column, rows.columns)
            wrong.append(Problem(place, f"column {column} is not in {source.file.name}{hint}"))
    if wrong:
        raise source.mapping.invalid(wrong)


def _stat(path: Path) -> tuple[int, int, int]:
    found = os.stat(path)  # noqa: PTH116 - as short as it gets
    return found.st_ino, found.st_size, found.st_mtime_ns
