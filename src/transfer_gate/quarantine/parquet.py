"""Rows as a Parquet file. Needs pyarrow, the extra `parquet`."""

import datetime as dt
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import pyarrow as pa
from pyarrow import parquet

_TIME: Final = pa.timestamp("us", tz="UTC")
#: One column a field; what has a shape of its own, such as the payload, is JSON text.
_SCHEMA: Final = pa.schema(
    [
        ("quarantine_id", pa.string()),
        ("place", pa.string()),
        ("state", pa.string()),
        ("attempt", pa.int32()),
        ("stage", pa.string()),
        ("partner", pa.string()),
        ("channels", pa.list_(pa.string())),
        ("reasons", pa.string()),
        ("quarantined_at", _TIME),
        ("first_quarantined_at", _TIME),
        ("source", pa.string()),
        ("decision_id", pa.string()),
        ("policy_revision", pa.string()),
        ("consent_offset", pa.int64()),
        ("replay_run", pa.string()),
        ("encrypted", pa.bool_()),
        ("payload_condition", pa.string()),
        ("payload", pa.string()),
    ]
)

#: Rows of a row group: until one is written, its rows are held as Python objects and as Arrow's columns.
_ROWS: Final = 2000


class ParquetRows:
    """A Parquet file that takes rows, and groups them."""

    def __init__(self, file: Path) -> None:
        self._writer = parquet.ParquetWriter(file, _SCHEMA)

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append."""
        left = (_flat(row) for row in rows)
        while some := list(islice(left, _ROWS)):
            self._writer.write_table(pa.Table.from_pylist(some, schema=_SCHEMA))

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
