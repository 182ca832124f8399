"""The consent of one partition as a decision saw it: events folded up to its offset, and what stood right behind; and
events outside the partition of their key, which a history of one partition misses.

Those come from producers with another partitioner. The gate brings each home by `transfer-gate-strays`; an event that
it never brought, or brought in time, forbids what was decided later. Those from before the topics grew came home when
they did (`topics grow`).
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from dataclasses import replace
from typing import Final, NamedTuple

from transfer_gate.gate.overlay import Overlay
from transfer_gate.gate.table import Slice
from transfer_gate.kafka import ConsumerRecord, TopicPartition
from transfer_gate.kafka import reader as kafka
from transfer_gate.kafka.reader import Offsets
from transfer_gate.kafka.spans import SpanReader
from transfer_gate.model.state import Bounds, OneState, ProspectState, States
from transfer_gate.records import headers as names
from transfer_gate.records.consents import ConsentFold
from transfer_gate.records.partitioner import UNGROWN, Placements, stray_offset
from transfer_gate.records.state import decode_state, received_at

#: `timestamp_type` of a record whose time is the broker's own, not the producer's.
LOG_APPEND_TIME: Final = 1
#: Most events that are held beyond the folded ones; a gate that is further behind has leaked among these already.
_AHEAD: Final = 20_000


class History:
    """Moves with the decisions, whose offsets of consent rise; going back means folding anew from the beginning."""

    def __init__(
        self,
        table: Slice,
        place: TopicPartition,
        begin: int,
        bounds: Bounds,
        topic_id: str | None,
        *,
        unidentified: AbstractSet[str],
    ) -> None:
        """`begin`: the first event that is still there; `bounds`: how much the gate keeps of a prospect. For `topic_id`
        see `TopicLives.own`, for `unidentified` `decode_consent`.
        """
        self.table = table
        self.place = place
        self.bounds = bounds
        self.begin = begin
        self.topic_id = topic_id
        #: Whether the first event that is there is the first one that ever was.
        self.whole = begin == 0 and topic_id is None
        self.unidentified = unidentified
        self._consents = ConsentFold(bounds, unidentified)
        table.clear()
        table.position = begin
        self._ahead: deque[ConsumerRecord] = deque()
        self._by_key: dict[bytes, deque[ConsumerRecord]] = defaultdict(deque)

    @property
    def read_from(self) -> int:
        """Where a reader that is turned to this partition has to go on."""
        return self._ahead[-1].offset + 1 if self._ahead else self.table.position

    async def at(self, offset: int, key: bytes, reader: SpanReader) -> ProspectState:
        """The state of one prospect with every event below `offset` folded and none above."""
        if offset < self.table.position:
            self._begin_again(reader)
        while True:
            self._fold_below(offset)
            if self._ahead:
                break
            records = await reader.more(self.place)
            if not records:
                self.table.position = max(self.table.position, offset)
                break
            self._hold(records)
        return decode_state(self.table.get(key))

    async def behind(self, key: bytes, before_ms: int, reader: SpanReader) -> list[ConsumerRecord]:
        """Events of a prospect that are not folded although the broker appended them before `before_ms`.

        Empty when the topic holds the producers' times: they don't show when an event was acknowledged.
        """
        while len(self._ahead) < _AHEAD and not (self._ahead and self._ahead[-1].timestamp >= before_ms):
            if self._ahead and self._ahead[-1].timestamp_type != LOG_APPEND_TIME:
                break
            records = await reader.more(self.place)
            if not records:
                break
            self._hold(records)
        return [
            record
            for record in self._by_key.get(key, ())
            if record.timestamp_type == LOG_APPEND_TIME and record.timestamp < before_ms
        ]

    def folded(self, key: bytes, state: ProspectState, records: Sequence[ConsumerRecord]) -> ProspectState:
        """The state after some more events of its prospect, as the gate folds them (contract section 3)."""
        alone = OneState(key, state)
        for record in records:
            self._apply(alone, record)
        return alone.state

    def _apply(self, states: States, record: ConsumerRecord) -> None:
        received = received_at(record.timestamp)
        self._consents.apply(states, record.key, record.value, record.offset, received, record.headers)

    def _hold(self, records: Sequence[ConsumerRecord]) -> None:
        for record in records:
            self._ahead.append(record)
            if record.key is not None:
                self._by_key[record.key].append(record)

    def _fold_below(self, offset: int) -> None:
        states = Overlay(self.table)
        position = self.table.position
        while self._ahead and self._ahead[0].offset < offset:
            record = self._ahead.popleft()
            position = record.offset + 1
            key = record.key
            if key is None:
                continue  # unreadable, and of no prospect
            waiting = self._by_key[key]
            waiting.popleft()
            if not waiting:
                del self._by_key[key]
            self._apply(states, record)
        self.table.update(dict(states.changes()), max(position, offset) if self._ahead else position)

    def _begin_again(self, reader: SpanReader) -> None:
        self.table.clear()
        self.table.position = self.begin
        self._ahead.clear()
        self._by_key.clear()
        reader.seek(self.place, self.begin)


class Known(NamedTuple):
    """Events of one prospect from other partitions, all acknowledged before a decision: those that the gate could have
    known by then, and those that it had found, but that were still on their way. `home`: all that had come home by the
    decision, whenever they were acknowledged.
    """

    known: Sequence[ConsumerRecord] = ()
    on_their_way: Sequence[ConsumerRecord] = ()
    home: Sequence[ConsumerRecord] = ()


class Astray:
    """Index of misplaced consent events by key; remembers how far it read."""

    def __init__(self, strays: str) -> None:
        """`strays`: their topic."""
        self._strays = strays
        self._read: dict[TopicPartition, int] = {}
        self._events: dict[bytes, list[ConsumerRecord]] = {}
        #: `stray_offset` and timestamp (ms) of an event to when it was written to the partition of its key, ms. The
        #: timestamp tells it from one that stood there before the topic was made anew.
        self._home: dict[tuple[int, int], int] = {}
        self._placements = UNGROWN

    async def read(self, reader: kafka.Reader, begins: Offsets, ends: Offsets, placements: Placements) -> None:
        """Read on, to `ends` of `consent-events` and of the strays; from the beginning where the topics have grown
        since. Raises BrokerUnavailable.
        """
        if placements != self._placements:
            self._read, self._events, self._home, self._placements = {}, {}, {}, placements
        starts = {place: max(self._read.get(place, 0), begins[place]) for place in ends}
        left = {place: end for place, end in ends.items() if starts[place] < end}
        if not left:
            return
        async with aclosing(reader.records(left, {place: starts[place] for place in left})) as batches:
            async for records in batches:
                for record in records:
                    self._take(record)
        self._read.update(left)

    def _take(self, record: ConsumerRecord) -> None:
        if record.topic == self._strays:
            sent = dict(record.headers)
            try:
                name = stray_offset(int(sent[names.SOURCE_PARTITION]), int(sent[names.SOURCE_OFFSET]))
                received = int(sent[names.SOURCE_TIMESTAMP_MS])
            except (KeyError, ValueError, TypeError):
                return
            self._home.setdefault((name, received), record.timestamp)
            return
        place = record.topic, record.partition, record.offset, record.key
        moved = self._placements.moved(*place)
        if record.key is not None and (moved or self._placements.misplaced(*place)):
            own = replace(record, offset=stray_offset(record.partition, record.offset))
            self._events.setdefault(record.key, []).append(own)
            if moved:  # home before anything was decided there
                self._home[own.offset, record.timestamp] = 0

    def of(self, key: bytes, partition: int, before_ms: int, decided_ms: int) -> Known:
        """Events of `key` outside `partition` that the broker appended before `before_ms`, and what was home then."""
        known: list[ConsumerRecord] = []
        on_their_way: list[ConsumerRecord] = []
        at_home: list[ConsumerRecord] = []
        for record in self._events.get(key, ()):
            home = self._home.get((record.offset, record.timestamp))
            if record.partition == partition and home == 0:
                continue  # decided beside it, before the topics grew
            if home is not None and home <= decided_ms:
                at_home.append(record)
            if record.partition == partition or record.timestamp >= before_ms:
                continue
            if record.timestamp_type != LOG_APPEND_TIME:
                continue
            (known if home is None or home < before_ms else on_their_way).append(record)
        return Known(known, on_their_way, at_home)
