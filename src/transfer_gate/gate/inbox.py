"""Fetched records that wait for their round, in order, per partition and topic."""

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from aiokafka.structs import ConsumerRecord
from msgspec import Struct

from transfer_gate.gate.memory import InboxBudget
from transfer_gate.kafka.sizes import weight
from transfer_gate.kafka.unpacking import RECORD_OVERHEAD

Record: TypeAlias = ConsumerRecord[bytes | None, bytes | None]

#: Bytes of keys, values and headers that one inbox may hold before it pauses, and that one round takes of it.
WAITING_BYTES: Final = 32 << 20
ROUND_BYTES: Final = 8 << 20


class Reached(NamedTuple):
    """Offset after what was fetched of the batches of one leader epoch."""

    epoch: int
    end: int


class Passed(NamedTuple):
    """Offsets from `first` to before `end` that came without a record: markers and aborted records have offsets, but so
    have records that were deleted before they were fetched.
    """

    first: int
    end: int


class _Batch(Struct, frozen=True):
    records: Sequence[Record]
    end: int
    size: int


class Inbox:
    """A queue counted in records and bytes.

    Its `position` moves past control and aborted records too, which are never delivered.
    """

    __slots__ = (
        "_batches", "_budget", "_bytes", "_first", "_held", "_limit", "_passed", "position", "reached", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        limit: int,
        position: int | None = None,
        epoch: int = -1,
        budget: InboxBudget | None = None,
        *,
        first: bool = False,
    ) -> None:
        """`epoch`: leader epoch of the last batch before `position`, -1 where it is not known.

        `budget` is shared by all inboxes of a worker; see there what `first` is.
        """
        self._first = first
        self._budget = budget or InboxBudget()
        #: Bytes of the budget, also of what was taken and is not settled.
        self._held = 0
        self._batches: deque[_Batch] = deque()
        self._limit = limit
        self._bytes = 0
        #: Records that wait.
        self.waiting = 0
        #: Offset after everything that was put or committed before; None when neither is known.
        self.position = position
        self._passed: list[Passed] = []
        #: Up to where batches of each leader epoch were put, the newest last; the first is that of what is done with.
        self.reached: list[Reached] = [] if position is None or epoch < 0 else [Reached(epoch, position)]

    @property
    def full(self) -> bool:
        """Whether fetching should pause."""
        return self.waiting >= self._limit or self._bytes >= WAITING_BYTES or self._exceeds()

    def _exceeds(self) -> bool:
        return self._held > 0 and self._budget.spent(first=self._first)

    @property
    def oldest(self) -> int | None:
        """Timestamp of the record that waits first, ms; None when none waits."""
        return next((batch.records[0].timestamp for batch in self._batches if batch.records), None)

    def put(self, records: Sequence[Record], end: int, epochs: Sequence[Reached] = ()) -> None:
        """Append what one fetch brought; `end` is the consumer's position after it. May be empty.

        Raises ValueError when offsets go backwards: records would be decided twice; or leader epochs: then the log was
        cut in between.
        """
        if self.reached and epochs and epochs[0].epoch < self.reached[-1].epoch:
            raise ValueError(f"a batch of leader epoch {epochs[0].epoch} came behind one of {self.reached[-1].epoch}")
        if self.position is not None and records and records[0].offset < self.position:
            raise ValueError(f"offset {records[0].offset} was fetched again, already at {self.position}")
        if not records and self.position is not None and end < self.position:
            return
        first = records[0].offset if records else end
        if self.position is not None and first > self.position:
            self._passed.append(Passed(self.position, first))
        size = sum(map(weight, records))
        self._batches.append(_Batch(records, end, size))
        self._bytes += size
        self._hold(size + RECORD_OVERHEAD * len(records))
        self.waiting += len(records)
        self.position = end
        for epoch in epochs:
            if self.reached and self.reached[-1].epoch == epoch.epoch:
                self.reached.pop()
            self.reached.append(epoch)

    def epoch_before(self, offset: int) -> int:
        """Leader epoch under which everything before `offset` stood, -1 where it is not known; what stood under earlier
        ones is forgotten. Offsets only ever grow.
        """
        while len(self.reached) > 1 and self.reached[0].end < offset:
            del self.reached[0]
        return self.reached[0].epoch if self.reached and offset <= self.reached[0].end else -1

    def put_back(self, records: Sequence[Record], end: int) -> None:
        """Let the last records of what was taken, up to `end`, wait again, before all others."""
        size = sum(map(weight, records))
        self._batches.appendleft(_Batch(records, end, size))
        self._bytes += size
        self.waiting += len(records)

    def settle(self) -> None:
        """What was taken is done with: the budget is free of it."""
        self._hold(self._bytes + RECORD_OVERHEAD * self.waiting - self._held)

    def drop(self) -> None:
        """Free the budget of everything: nobody takes it any more."""
        self._hold(-self._held)

    def _hold(self, size: int) -> None:
        self._held += size
        self._budget.used += size

    def take_passed(self) -> list[Passed]:
        """What was passed over since somebody last asked, in order."""
        passed, self._passed = self._passed, []
        return passed

    def take(self, most: int) -> tuple[Sequence[Record], int] | None:
        """Up to `most` records and about `ROUND_BYTES`, and the offset after them; None when nothing waits."""
        if not self._batches:
            return None
        batch = self._batches.popleft()
        first = self._first_of(batch, most)
        if first < len(batch.records):
            batch = self._split(batch, first)
        records, end, size = batch.records, batch.end, batch.size
        if self._fits(len(records), size, most):
            taken = list(records)
            while self._fits(len(taken), size, most):
                batch = self._batches.popleft()
                taken += batch.records
                end, size = batch.end, size + batch.size
            records = taken
        self.waiting -= len(records)
        self._bytes -= size
        return records, end

    def _first_of(self, batch: _Batch, most: int) -> int:
        """How many records of `batch` one round takes; one at least, however large."""
        if batch.size <= ROUND_BYTES:
            return min(most, len(batch.records))
        size = 0
        for count, record in enumerate(batch.records):
            size += weight(record)
            if count == most or (count and size > ROUND_BYTES):
                return count
        return len(batch.records)

    def _fits(self, count: int, size: int, most: int) -> bool:
        if not self._batches:
            return False
        following = self._batches[0]
        return count + len(following.records) <= most and size + following.size <= ROUND_BYTES

    def _split(self, batch: _Batch, most: int) -> _Batch:
        """The first `most` records; the rest goes back to the front."""
        first, rest = batch.records[:most], batch.records[most:]
        size = sum(map(weight, first))
        self._batches.appendleft(_Batch(rest, batch.end, batch.size - size))
        return _Batch(first, rest[0].offset, size)
