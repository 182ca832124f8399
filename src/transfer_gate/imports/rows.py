"""The rows of a file, one after the other and in bounded memory: CSV, JSON lines, Parquet."""

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple, Protocol

import msgspec

from transfer_gate.errors import InvalidInput
from transfer_gate.imports.mapping import ImportMapping
from transfer_gate.imports.readers import Row
from transfer_gate.records.json_names import names_twice

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
