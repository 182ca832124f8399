"""The rows of a Parquet file, by batches. Needs pyarrow, the extra `parquet`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
from pyarrow import parquet

from transfer_gate.errors import InvalidInput
from transfer_gate.imports.rows import FileRow

#: Rows that are Python objects at a time.
_BATCH: Final = 2000


class ParquetFileRows:
    """A Parquet file, of which only the columns that a mapping reads are read."""

    unit = "rows"

    def __init__(self, file: BinaryIO, path: Path, wanted: list[str]) -> None:
        self._path = path
        try:
            # Without the buffer, a row group is read as it is needed: memory stays as it is.
            self._file = parquet.ParquetFile(file, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from None
        self.total: int = self._file.metadata.num_rows
        names = list(self._file.schema_arrow.names)
        tops = {name if name in names else name.partition(".")[0] for name in wanted}
        self.columns = [name for name in names if name in tops]
        self._read = 0

    @property
    def position(self) -> int:
        """Rows that were read."""
        return self._read

    def rows(self, after: int) -> Iterator[FileRow]:
        """The rows behind the first `after` ones; row groups that lie before are not read."""
        groups: list[int] = []
        before = 0
        for number in range(self._file.metadata.num_row_groups):
            count = self._file.metadata.row_group(number).num_rows
            if before + count > after or groups:
                groups.append(number)
            else:
                before += count
        number = before
        try:
            batches = self._file.iter_batches(_BATCH, row_groups=groups, columns=self.columns)
            for batch in batches:
                cells: list[list[Any]] = [batch.column(name).to_pylist() for name in self.columns]
                for row in zip(*cells, strict=True):
                    number += 1
                    if number > after:
                        self._read = number
                        yield FileRow(number, row, dict(zip(self.columns, row, strict=True)))
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self._path, error) from None


def _unreadable(path: Path, error: Exception) -> InvalidInput:
    return InvalidInput(f"{path}: can't be read as Parquet: {type(error).__name__}", do="is it a Parquet file?")
