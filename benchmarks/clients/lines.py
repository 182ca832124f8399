"""The file of events: one record a line, key and value apart by a tab. JSON has neither a bare tab nor a line feed."""

from collections.abc import Iterator
from pathlib import Path


def read(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of every record."""
    with path.open("rb") as file:
        for line in file:
            key, value = line.rstrip(b"\n").split(b"\t", 1)
            yield key, value
