"""Fetched records that wait for their round, in order, per partition and topic."""

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from aiokafka.structs import ConsumerRecord

Record: TypeAlias = ConsumerRecord[bytes | None, bytes | None]


class Inbox:
    """A queue counted in records. Its `position` moves past control and aborted records too, which are never
    delivered.
    """

    __slots__ = ("_batches", "_limit", "position", "waiting")

    def __init__(self, limit: int) -> None:
        self._batches: deque[tuple[Sequence[Record], int]] = deque()
        self._limit = limit
        self.waiting = 0
        #: Offset after everything that was put; None before the first fetch told it.
        self.position: int | None = None

    @property
    def full(self) -> bool:
        """Whether fetching should pause."""
        return self.waiting >= self._limit

    def put(self, records: Sequence[Record], end: int) -> None:
        """Append what one fetch brought; `end` is the consumer's position after it. May be empty.

        Raises ValueError when offsets go backwards: records would be decided twice.
        """
        if self.position is not None and records and records[0].offset < self.position:
            raise ValueError(f"offset {records[0].offset} was fetched again, already at {self.position}")
        if not records and self.position is not None and end <= self.position:
            return
        self._batches.append((records, end))
        self.waiting += len(records)
        self.position = end

    def take(self, most: int) -> tuple[Sequence[Record], int] | None:
        """Up to `most` records and the offset after them, or None when nothing waits."""
        if not self._batches:
            return None
        records, end = self._batches.popleft()
        if len(records) > most:
            rest = records[most:]
            self._batches.appendleft((rest, end))
            records, end = records[:most], rest[0].offset
        elif self._batches and len(records) + len(self._batches[0][0]) <= most:
            taken = list(records)
            while self._batches and len(taken) + len(self._batches[0][0]) <= most:
                more, end = self._batches.popleft()
                taken += more
            records = taken
        self.waiting -= len(records)
        return records, end
