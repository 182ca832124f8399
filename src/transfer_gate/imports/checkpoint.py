"""How far an import has come, in a small file that survives `kill -9`: written after the brokers have acknowledged."""

import os
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from transfer_gate.errors import InvalidInput, RefusedByGuard

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
