"""`rocksdb://`: a slice on local disk, for a state larger than memory. Needs the library rocksdict (extra `rocksdb`).

States and the changelog position that they stand for are written in one atomic batch, so whatever a crash leaves
behind is the table as it was at some committed position; the rest is read from the changelog's tail.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout
from rocksdict import Options, Rdict, WriteBatch

from transfer_gate.errors import GateError, InvalidInput

_POSITION: Final = b"\x00position"
_STATE: Final = b"\x01"


class RocksFolder:
    """The slices of one worker, a folder each by topic and partition. Only one worker at a time has it, for as long as
    its process lives.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder. Raises InvalidInput when another worker has it, GateError when it can't be used."""
        self._folder = folder
        self._lock = FileLock(folder / ".lock")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InvalidInput(
                f"another worker keeps its state in {folder}", do="give every worker its own TRANSFER_GATE_DATA_DIR"
            ) from None
        except OSError as error:
            raise GateError(
                f"the state folder {folder} can't be used: {error.strerror or error}",
                do="check TRANSFER_GATE_DATA_DIR, rights and disk space",
            ) from error

    def open(self, topic: str, number: int) -> "RocksSlice":
        """Slice of a partition of a compacted topic."""
        return RocksSlice(self._folder / topic / str(number))


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # rocksdict raises bare Exception
        raise GateError(
            f"the state in {path} can't be read or written: {error}",
            do="make room on the disk and start again: nothing is lost, the folder is caught up from the changelog",
        ) from error


class RocksSlice:
    """See Slice. `position` and `life` are kept beside the states."""

    __slots__ = ("_db", "_path", "life", "position")

    def __init__(self, path: Path) -> None:
        """Open or create. Raises GateError when the folder can't be used, for instance because another worker has it
        open.
        """
        self._path = path
        self._db = self._open()
        kept: Any = self._db.get(_POSITION)
        position, _, life = (kept or b"0").partition(b" ")
        self.position, self.life = int(position), life.decode()

    def get(self, key: bytes) -> bytes | None:
        """See Slice. Raises GateError when the disk can't be read."""
        with _disk_errors(self._path):
            value: bytes | None = self._db.get(_STATE + key)
        return value

    def update(self, changes: Mapping[bytes, bytes | None], position: int) -> None:
        """See Slice. Raises GateError when the disk can't be written."""
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(_STATE + key)
            else:
                batch.put(_STATE + key, value)
        batch.put(_POSITION, f"{position} {self.life}".encode())
        with _disk_errors(self._path):
            self._db.write(batch)
        self.position = position

    def clear(self) -> None:
        """See Slice."""
        self._db.close()
        Rdict.destroy(str(self._path), self._options())
        self._db = self._open()
        self.position, self.life = 0, ""

    def close(self) -> None:
        """See Slice."""
        # On a full disk it can't be closed well. What is lacking then is read from the changelog.
        with contextlib.suppress(Exception):
            self._db.close()

    def __len__(self) -> int:
        """An estimate: RocksDB does not count."""
        return max(0, int(self._db.property_int_value("rocksdb.estimate-num-keys") or 0) - 1)

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        """See Slice."""
        entries: Any = self._db.items(from_key=_STATE)
        for key, value in entries:
            yield key[1:], value

    def _open(self) -> Rdict:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            return Rdict(str(self._path), self._options())
        except Exception as error:  # rocksdict raises bare Exception
            raise GateError(
                f"the state folder {self._path} can't be opened: {type(error).__name__}: {error}",
                do="give every worker its own TRANSFER_GATE_DATA_DIR, check rights and disk space; "
                "the folder may be deleted: it is rebuilt from the changelog",
            ) from error

    @staticmethod
    def _options() -> Options:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        return options
