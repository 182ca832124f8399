"""Fetched records that wait for their round, in order, and the offsets of the inputs of one partition."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct

from transfer_gate.gate.memory import InboxBudget
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.kafka import ConsumerRecord
from transfer_gate.kafka.sizes import weight
from transfer_gate.kafka.unpacking import RECORD_OVERHEAD

Record: TypeAlias = ConsumerRecord[bytes | None, bytes | None]

#: Bytes of keys, values and headers that one inbox may hold before it pauses, and that one round takes of it.
WAITING_BYTES: Final = 32 << 20
ROUND_BYTES: Final = 8 << 20


def place_of(record: Record) -> dict[str, object]:
    """Fields of a log line about one record."""
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}


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


class Fetched(Struct, frozen=True):
    """Records of one partition of an input on their way from the fetch to their round, in order. There may be none:
    control and aborted records are passed, and never delivered.
    """

    records: Sequence[Record]
    #: Offset after them: the consumer's position.
    end: int
    #: Bytes of keys, values and headers.
    size: int = 0
    #: Up to where the batches of each leader epoch were read, in order.
    epochs: tuple[Reached, ...] = ()
    #: Offsets of its log, from the first to before the second, some of which compaction took away.
    hole: tuple[int, int] | None = None

    @classmethod
    def of(
        cls,
        records: Sequence[Record],
        end: int,
        epochs: tuple[Reached, ...] = (),
        hole: tuple[int, int] | None = None,
    ) -> "Fetched":
        """What a fetch brought, measured."""
        return cls(records, end, sum(map(weight, records)), epochs, hole)

    def split(self, count: int) -> tuple["Fetched", "Fetched"]:
        """The first `count` records and the rest, at least one."""
        first, rest = self.records[:count], self.records[count:]
        size = sum(map(weight, first))
        return Fetched(first, rest[0].offset, size), Fetched(rest, self.end, self.size - size)


class Offsets(Struct, frozen=True):
    """Next offset of each input of one partition: everything below is done with. None before the first."""

    consents: int | None = None
    transfers: int | None = None
    replays: int | None = None
    strays: int | None = None

    @classmethod
    def of(cls, book: Rulebook, by_topic: Mapping[str, int]) -> "Offsets":
        """Offsets by input topic; other topics are ignored."""
        return cls(*(by_topic.get(topic) for topic in (book.consents, book.transfers, book.replay, book.strays)))

    def by_topic(self, book: Rulebook) -> dict[str, int | None]:
        """By input topic."""
        return {
            book.consents: self.consents,
            book.transfers: self.transfers,
            book.replay: self.replays,
            book.strays: self.strays,
        }

    def known(self, book: Rulebook) -> dict[str, int]:
        """By input topic, without those that are None."""
        return {topic: offset for topic, offset in self.by_topic(book).items() if offset is not None}

    def after(self, taken: "RoundRecords") -> "Offsets":
        """Where each input stands behind the records of a round."""
        return Offsets(
            self.consents if taken.consents is None else taken.consents.end,
            self.transfers if taken.transfers is None else taken.transfers.end,
            self.replays if taken.replays is None else taken.replays.end,
            self.strays if taken.strays is None else taken.strays.end,
        )


class RoundRecords(Struct, frozen=True):
    """What one round takes of each input; None where it takes nothing."""

    consents: Fetched | None = None
    transfers: Fetched | None = None
    replays: Fetched | None = None
    strays: Fetched | None = None

    @property
    def count(self) -> int:
        """How many records these are."""
        return sum(len(each.records) for each in (self.consents, self.transfers, self.replays, self.strays) if each)


class ConsentEnds(NamedTuple):
    """Up to where consent events, and strays of them, are applied or have to be: the next offsets. None where that is
    not known yet.
    """

    consents: int | None = None
    strays: int | None = None

    def after(self, taken: RoundRecords) -> "ConsentEnds":
        """Once the events of a round are applied."""
        return ConsentEnds(
            self.consents if taken.consents is None else taken.consents.end,
            self.strays if taken.strays is None else taken.strays.end,
        )

    def cover(self, need: "ConsentEnds") -> bool:
        """Whether these are at or behind `need`."""
        pairs = zip(self, need, strict=True)
        return all(have is not None and wanted is not None and have >= wanted for have, wanted in pairs)


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
        self._batches: deque[Fetched] = deque()
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

    def put(self, fetched: Fetched) -> None:
        """Append what one fetch brought.

        Raises ValueError when offsets go backwards: records would be decided twice; or leader epochs: then the log was
        cut in between.
        """
        records, end, epochs = fetched.records, fetched.end, fetched.epochs
        if self.reached and epochs and epochs[0].epoch < self.reached[-1].epoch:
            raise ValueError(f"a batch of leader epoch {epochs[0].epoch} came behind one of {self.reached[-1].epoch}")
        if self.position is not None and records and records[0].offset < self.position:
            raise ValueError(f"offset {records[0].offset} was fetched again, already at {self.position}")
        if not records and self.position is not None and end < self.position:
            return
        first = records[0].offset if records else end
        if self.position is not None and first > self.position:
            self._passed.append(Passed(self.position, first))
        self._batches.append(fetched)
        self._bytes += fetched.size
        self._hold(fetched.size + RECORD_OVERHEAD * len(records))
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

    def put_back(self, rest: Fetched) -> None:
        """Let the last records of what was taken wait again, before all others."""
        self._batches.appendleft(rest)
        self._bytes += rest.size
        self.waiting += len(rest.records)

    def settle(self) -> None:
        """What was taken is done with: the budget is free of it."""
        self._hold(self._bytes + RECORD_OVERHEAD * self.waiting - self._held)

    def drop(self) -> None:
        """Free the budget of everything: it is not taken any more."""
        self._hold(-self._held)

    def _hold(self, size: int) -> None:
        self._held += size
        self._budget.used += size

    def take_passed(self) -> list[Passed]:
        """What was passed over since the last call, in order."""
        passed, self._passed = self._passed, []
        return passed

    def take(self, most: int) -> Fetched | None:
        """Up to `most` records and about `ROUND_BYTES`; None when nothing waits. May have no record, where only markers
        were passed.
        """
        if not self._batches:
            return None
        taken = self._batches.popleft()
        first = self._first_of(taken, most)
        if first < len(taken.records):
            taken, rest = taken.split(first)
            self._batches.appendleft(rest)
        elif self._fits(taken, most):
            records = list(taken.records)
            while self._fits(taken, most):
                following = self._batches.popleft()
                records += following.records
                taken = Fetched(records, following.end, taken.size + following.size)
        self.waiting -= len(taken.records)
        self._bytes -= taken.size
        return taken

    def take_records(self, most: int) -> Fetched | None:
        """The same, with at least one record where any waits."""
        while (taken := self.take(most)) is not None and not taken.records and self._batches:
            pass
        return taken

    def _first_of(self, batch: Fetched, most: int) -> int:
        """How many records of `batch` one round takes; one at least, however large."""
        if batch.size <= ROUND_BYTES:
            return min(most, len(batch.records))
        size = 0
        for count, record in enumerate(batch.records):
            size += weight(record)
            if count == most or (count and size > ROUND_BYTES):
                return count
        return len(batch.records)

    def _fits(self, taken: Fetched, most: int) -> bool:
        if not self._batches:
            return False
        following = self._batches[0]
        return len(taken.records) + len(following.records) <= most and taken.size + following.size <= ROUND_BYTES


class Inboxes:
    """The inboxes of one partition: one for each input, so that consent events come in while transfers wait."""

    __slots__ = ("_by_topic", "consents", "replays", "strays", "transfers")

    def __init__(
        self, book: Rulebook, limit: int, committed: Offsets, epochs: Mapping[str, int], budget: InboxBudget
    ) -> None:
        """`epochs`: leader epoch of the last batch before the committed offset, by topic where it is known."""
        self._by_topic = {
            topic: Inbox(limit, offset, epochs.get(topic, -1), budget, first=topic in book.waited_for)
            for topic, offset in committed.by_topic(book).items()
        }
        self.consents, self.transfers, self.replays, self.strays = self._by_topic.values()

    def __getitem__(self, topic: str) -> Inbox:
        return self._by_topic[topic]

    def items(self) -> Iterable[tuple[str, Inbox]]:
        """Each input topic and its inbox."""
        return self._by_topic.items()

    def settle(self, taken: RoundRecords) -> None:
        """Free the budget of what a round took: it is done with."""
        for inbox, part in (
            (self.consents, taken.consents),
            (self.transfers, taken.transfers),
            (self.replays, taken.replays),
            (self.strays, taken.strays),
        ):
            if part is not None:
                inbox.settle()

    def drop(self) -> None:
        """Free the budget of everything."""
        for inbox in self._by_topic.values():
            inbox.drop()
