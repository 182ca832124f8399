"""The rows of a file, one after the other and in bounded memory: CSV, JSON lines, Parquet; and those that could not be
mapped, in a file beside it, to be put right and imported again.

That file holds personal data as the imported one does, so it is its owner's alone (mode 600), and nothing of a row goes
anywhere else.
"""

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple, Protocol

import msgspec

from transfer_gate.errors import InvalidInput
from transfer_gate.imports.mapping import ImportMapping
from transfer_gate.imports.readers import Row
from transfer_gate.records.input_json import names_twice

Format = Literal["csv", "jsonl", "parquet"]

FORMATS: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
#: Longest line, characters or bytes: a file without line breaks must not fill the memory.
_LONGEST_LINE: Final = 4 << 20
#: Longest cell of CSV, characters.
_LONGEST_CELL: Final = 1 << 20


class FileRow(NamedTuple):
    """A row of a file. `number` counts from 1, a header left out; `raw` is what a rejected row is written as.

    `row` is None where the file breaks its own format there, and `fault` says how.
    """

    number: int
    row: Row | None
    raw: Any
    fault: str = ""


class FileRows(Protocol):
    """A file that is read row by row."""

    #: What `position` counts, and where it ends: bytes, or rows.
    unit: str
    total: int

    @property
    def columns(self) -> list[str] | None:
        """Names of the cells; None where each row names its own members."""

    @property
    def position(self) -> int:
        """How far it was read."""

    def rows(self, after: int) -> Iterator[FileRow]:
        """The rows behind the first `after` ones. Raises InvalidInput when the file can't be read on."""


@contextmanager
def open_rows(path: Path, form: Format, mapping: ImportMapping, columns: Callable[[], list[str]]) -> Iterator[FileRows]:
    """Open a file of rows; `columns` are those that the mapping reads, which is all that is read of Parquet.

    Raises InvalidInput when it can't be read, or pyarrow is missing for Parquet.
    """
    try:
        with path.open("rb") as file:
            if form == "parquet":
                yield _parquet(file, path, columns())
            elif form == "jsonl":
                yield JsonLines(file, path)
            else:
                yield CsvRows(file, path, mapping)
    except OSError as error:
        if error.filename not in (None, str(path)):
            raise
        raise InvalidInput(f"{path}: can't be read: {error.strerror or error}", do="check path and rights") from None


def _parquet(file: BinaryIO, path: Path, columns: list[str]) -> FileRows:
    try:
        from transfer_gate.imports.parquet import ParquetFileRows
    except ImportError:
        raise InvalidInput(
            "Parquet needs the library pyarrow, which is not installed", do="pip install 'transfer-gate[parquet]'"
        ) from None
    return ParquetFileRows(file, path, columns)


class CsvRows:
    """A CSV file whose first row names the columns; bytes that are not of its encoding pass through unharmed."""

    unit = "bytes"

    def __init__(self, file: BinaryIO, path: Path, mapping: ImportMapping) -> None:
        form = mapping.csv
        self._file, self._path = file, path
        self.total = path.stat().st_size
        encoding = "utf-8-sig" if form.encoding.casefold() in ("utf-8", "utf8") else form.encoding
        #: How the text was decoded, so that what is written of it is the same bytes.
        self.encoding = form.encoding
        self._text = io.TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="")
        delimiter = form.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
        self.delimiter, self.quote = delimiter, form.quote
        self._taken: list[str] = []
        csv.field_size_limit(_LONGEST_CELL)
        self._reader = csv.reader(self._lines(), delimiter=delimiter, quotechar=form.quote, strict=True)
        try:
            header = next(self._reader, [])
        except csv.Error as error:
            raise InvalidInput(f"{path}: its header can't be read: {error}", do="check csv: in the mapping") from None
        self.columns = [name.strip() for name in header]
        if not any(self.columns):
            raise InvalidInput(f"{path}: is empty", do="its first line must name the columns")

    @property
    def position(self) -> int:
        """Bytes that were read."""
        return self._file.tell()

    def rows(self, after: int) -> Iterator[FileRow]:
        """The rows behind the first `after` ones; empty lines are none."""
        number, width, reader, taken = 0, len(self.columns), self._reader, self._taken
        while True:
            taken.clear()
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                number += 1
                if number > after:
                    lines = "" if len(taken) < 2 else f" ({len(taken)} lines)"
                    yield FileRow(number, None, ["".join(taken)], f"malformed CSV{lines}: {error}")
                continue
            if not row:
                continue
            number += 1
            if number <= after:
                continue
            if len(row) == width:
                yield FileRow(number, row, row)
            else:
                yield FileRow(number, None, row, f"has {len(row)} cells, the header has {width}")

    def _lines(self) -> Iterator[str]:
        readline, taken = self._text.readline, self._taken
        while line := readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE:
                raise _endless(self._path)
            taken.append(line)
            yield line


class JsonLines:
    """A file with one JSON object a line."""

    columns = None
    unit = "bytes"

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self.total = path.stat().st_size

    @property
    def position(self) -> int:
        """Bytes that were read."""
        return self._file.tell()

    def rows(self, after: int) -> Iterator[FileRow]:
        """The rows behind the first `after` ones; empty lines are none."""
        number, readline, decode = 0, self._file.readline, msgspec.json.decode
        while line := readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE:
                raise _endless(self._path)
            line = line.strip()
            if not line:
                continue
            number += 1
            if number <= after:
                continue
            try:
                row = decode(line)
                if not isinstance(row, dict):
                    yield FileRow(number, None, line, "is not a JSON object")
                elif names_twice(line):
                    yield FileRow(number, None, line, "names a member twice (RFC 8259 section 4)")
                else:
                    yield FileRow(number, row, line)
            except (ValueError, RecursionError):  # msgspec's errors are ValueErrors, and so are those of UTF-8
                yield FileRow(number, None, line, "malformed JSON")


def _endless(path: Path) -> InvalidInput:
    return InvalidInput(
        f"{path}: a line of more than {_LONGEST_LINE >> 20} MiB", do="is it of this format? Give --format otherwise"
    )


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
