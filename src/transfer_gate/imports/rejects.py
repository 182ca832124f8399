"""Rows that could not be mapped, in a file beside the one that is imported: to be put right and imported again.

It holds personal data as the file itself does, so it is its owner's alone (mode 600), and nothing of a row goes
anywhere else.
"""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from transfer_gate.errors import InvalidInput
from transfer_gate.imports.rows import CsvRows, FileRows, Format

#: Added to a rejected row, in front: a mapping passes over columns that it does not name.
ROW: Final = "rejected_row"
REASON: Final = "rejected_reason"


class Reject(NamedTuple):
    """A row that was rejected. `kind` is the type of event where it was known."""

    number: int
    reason: str
    column: str | None
    kind: str | None
    raw: Any

    @property
    def explanation(self) -> str:
        """Why, with the column where there is one; nothing of the row itself."""
        return self.reason if self.column is None else f"{self.reason} (column {self.column})"


def rejects_beside(file: Path, form: Format, folder: Path) -> Path:
    """Where the rejected rows of a file go: of Parquet, as JSON lines."""
    suffix = ".jsonl" if form == "parquet" else file.suffix
    return folder / f"{file.name.removesuffix(file.suffix)}.rejected{suffix}"


class RejectsFile:
    """Appends rejected rows; nothing is made before there is one."""

    def __init__(self, path: Path, rows: FileRows, size: int) -> None:
        """`size`: how many bytes an earlier run made sure of; what stands behind them is cut off.

        Raises InvalidInput when the file can't be written.
        """
        self.path, self.size = path, size
        self._csv = rows if isinstance(rows, CsvRows) else None
        self._file: BinaryIO | None = None
        if size:
            self._file = self._open()
        else:
            path.unlink(missing_ok=True)

    def append(self, rejects: Iterable[Reject]) -> None:
        """Write, and wait until the disk has it."""
        lines = [line for reject in rejects for line in self._lines(reject)]
        if not lines:
            return
        if self._file is None:
            self._file = self._open()
            if self._csv is not None:
                lines.insert(0, _csv_line(self._csv, [ROW, REASON, *self._csv.columns]))
        written = b"".join(lines)
        self._file.write(written)
        self._file.flush()
        os.fsync(self._file.fileno())
        self.size += len(written)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> BinaryIO:
        try:
            opened = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
            opened.truncate(self.size)
            opened.seek(self.size)
        except OSError as error:
            raise InvalidInput(
                f"{self.path}: can't be written: {error.strerror}", do="name a folder with --work-dir"
            ) from None
        return opened

    def _lines(self, reject: Reject) -> Iterable[bytes]:
        if self._csv is not None:
            yield _csv_line(self._csv, [str(reject.number), reject.explanation, *reject.raw])
        else:
            yield _json_line(reject)


def _csv_line(rows: CsvRows, cells: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=rows.delimiter, quotechar=rows.quote).writerow(cells)
    return text.getvalue().encode(rows.encoding, errors="surrogateescape")


def _json_line(reject: Reject) -> bytes:
    added = {ROW: reject.number, REASON: reject.explanation}
    if isinstance(reject.raw, dict):
        return msgspec.json.encode(added | reject.raw) + b"\n"
    begin, line = msgspec.json.encode(added), bytes(reject.raw)
    if line.startswith(b"{"):
        # The line as it is, with two members more in front: what breaks it stays in it.
        rest = line[1:].lstrip()
        return begin[:-1] + (b"" if rest.startswith(b"}") else b",") + rest + b"\n"
    return begin[:-1] + b',"line":' + msgspec.json.encode(line.decode(errors="replace")) + b"}\n"
