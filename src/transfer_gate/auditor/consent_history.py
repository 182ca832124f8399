"""The consent of one partition as a decision saw it: events folded up to its offset, and what stood right behind."""

from collections import defaultdict, deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from transfer_gate.auditor.reader import Reader
from transfer_gate.gate.overlay import Overlay
from transfer_gate.gate.table import Slice
from transfer_gate.kafka.types import ConsumerRecord, TopicPartition
from transfer_gate.model.state import Bounds, OneState, ProspectState, States
from transfer_gate.records.consents import ConsentFold
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
        nobody: AbstractSet[str],
    ) -> None:
        """`begin`: the first event that is still there; `bounds`: how much the gate keeps of a prospect. For `topic_id`
        see `TopicLives.own`, for `nobody` `decode_consent`.
        """
        self.table = table
        self.place = place
        self.bounds = bounds
        self.begin = begin
        self.topic_id = topic_id
        #: Whether the first event that is there is the first one that ever was.
        self.whole = begin == 0 and topic_id is None
        self.nobody = nobody
        self._consents = ConsentFold(bounds, nobody)
        table.clear()
        table.position = begin
        self._ahead: deque[ConsumerRecord] = deque()
        self._by_key: dict[bytes, deque[ConsumerRecord]] = defaultdict(deque)

    @property
    def read_from(self) -> int:
        """Where a reader that is turned to this partition has to go on."""
        return self._ahead[-1].offset + 1 if self._ahead else self.table.position

    async def at(self, offset: int, key: bytes, reader: Reader) -> ProspectState:
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

    async def behind(self, key: bytes, before_ms: int, reader: Reader) -> list[ConsumerRecord]:
        """Events of a prospect that are not folded although the broker appended them before `before_ms`.

        Empty when the topic holds the producers' times: these say nothing of when an event was acknowledged.
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
                continue  # unreadable, and nobody's
            waiting = self._by_key[key]
            waiting.popleft()
            if not waiting:
                del self._by_key[key]
            self._apply(states, record)
        self.table.update(dict(states.changes()), max(position, offset) if self._ahead else position)

    def _begin_again(self, reader: Reader) -> None:
        self.table.clear()
        self.table.position = self.begin
        self._ahead.clear()
        self._by_key.clear()
        reader.seek(self.place, self.begin)
