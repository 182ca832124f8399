"""The audit of one partition: decisions in the order in which they were taken, each joined with what it released.

The gate writes a partition from one owner at a time, so decisions and released records stand in the same order. Both
are read forward, a bounded window of each is held, and the state of consent moves along with them.
"""

import datetime as dt
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from msgspec import Struct

from transfer_gate.auditor.consent_history import Astray, History
from transfer_gate.auditor.judge import Case, Decided, Judge, Released, Source, Verdict, decision_of, milliseconds
from transfer_gate.gate.integrity.identity import TopicLives
from transfer_gate.kafka import ConsumerRecord, TopicPartition
from transfer_gate.kafka.session import Session
from transfer_gate.kafka.spans import Lookup, Span, SpanReader
from transfer_gate.model.state import EMPTY
from transfer_gate.records.released import decode_released

#: Released records of one partner that may wait for their decisions.
_WINDOW: Final = 2000

_INVENTED: Final = Verdict("unexplained", "no decision released it")
_NO_RELEASE: Final = Verdict("unexplained", "not a released record")

#: Takes the verdict on one record, and whether something too close to the decision forbids it.
Report = Callable[[ConsumerRecord, Verdict, bool], None]


class Ends(Struct, frozen=True, kw_only=True):
    """Up to where one pass reads, by place, fixed in this order: decisions that are `settled` (committed), partner
    topics, then `decisions` once more, with every decision on what stands in the partner topics.
    """

    settled: int
    partners: Mapping[str, int]
    decisions: int
    consents: int
    #: First and end offset of the transfers, by partition.
    transfers: Mapping[int, tuple[int, int]]
    #: Whether the topics have grown: then what is replayed may have been quarantined in another partition.
    grown: bool = False


class Readers(Struct, frozen=True):
    """The session, and consumers that the partitions share, one after the other."""

    session: Session
    logs: SpanReader
    #: Transfers of first decisions, and of replays, which go back.
    transfers: Lookup
    replayed: Lookup


class PartitionAudit:
    """Goes on where the last pass ended. What a failure interrupts is done again by the next pass, and counted once."""

    def __init__(
        self,
        number: int,
        judge: Judge,
        history: History,
        begins: Mapping[TopicPartition, int],
        *,
        decisions: str,
        transfers: str,
        partner_topics: Mapping[str, str],
        margin: dt.timedelta,
        report: Report,
        astray: Astray,
        lives: TopicLives,
    ) -> None:
        self.number = number
        #: Next offset of decisions and partner topics, by place.
        self.positions = dict(begins)
        self.without_record = 0
        #: Which topics of their names stand there now.
        self.lives = lives
        self._judge = judge
        self._history = history
        self._decisions = TopicPartition(decisions, number)
        self._transfers = TopicPartition(transfers, number)
        self._partner_topics = partner_topics
        self._margin = margin
        self._report = report
        self._astray = astray
        self._queue: deque[Decided] = deque()
        #: Topic to decision id to the records that wait for that decision.
        self._waiting: dict[str, dict[str, list[Released]]] = {}

    async def advance(self, ends: Ends, readers: Readers, *, final: bool) -> None:
        """One pass. `final`: nothing is left for a next one. Raises BrokerUnavailable."""
        spans = self._turn(ends, readers)
        while True:
            if not self._queue:
                records = await readers.logs.more(self._decisions)
                self._queue.extend(decided for record in records if (decided := decision_of(record)) is not None)
                self.positions[self._decisions] = spans[self._decisions].position
                if not records:
                    break
                continue
            decided = self._queue[0]
            released = await self._released_by(decided, ends, readers, spans)
            if released is not None:
                await self._examine(decided, released, ends, readers)
                self._forget(released)
            elif decided.offset < ends.settled:
                self.without_record += 1
            elif not final:
                break  # its record came after this pass had begun
            self._queue.popleft()
        await self._read_rest(ends, readers, spans)

    def made_anew(self, topic_id: str | None, begin: int) -> None:
        """Fold consent from the beginning of another topic of its name, should it be another."""
        known = self._history
        if topic_id != known.topic_id:
            self._history = History(
                known.table, known.place, begin, known.bounds, topic_id, unidentified=known.unidentified
            )

    def close(self) -> None:
        """Release files."""
        self._history.table.close()

    def _turn(self, ends: Ends, readers: Readers) -> dict[TopicPartition, Span]:
        spans = {
            TopicPartition(topic, self.number): Span(self.positions[TopicPartition(topic, self.number)], end)
            for topic, end in ends.partners.items()
        }
        spans[self._decisions] = Span(self.positions[self._decisions], ends.decisions)
        spans[self._history.place] = Span(self._history.read_from, ends.consents)
        readers.logs.turn_to(spans)
        for lookup in (readers.transfers, readers.replayed):
            lookup.turn_to(self._transfers, *ends.transfers[self.number])
        return spans

    async def _released_by(
        self, decided: Decided, ends: Ends, readers: Readers, spans: Mapping[TopicPartition, Span]
    ) -> Released | None:
        """The record of this decision; reads the partner's topic on until it comes, or the window is full."""
        topic = self._partner_topics.get(decided.decision.partner_id or "")
        if topic is None or topic not in ends.partners:
            return None
        while True:
            found = self._waiting.get(topic, {}).get(decided.decision.decision_id)
            if found:
                return found[0]
            if len(self._waiting.get(topic, ())) >= _WINDOW or not await self._read(topic, ends, readers, spans):
                return None

    async def _read(self, topic: str, ends: Ends, readers: Readers, spans: Mapping[TopicPartition, Span]) -> bool:
        place = TopicPartition(topic, self.number)
        records = await readers.logs.more(place)
        for record in records:
            body = decode_released(record.value)
            if body is None:
                self._report(record, _NO_RELEASE, False)
                continue
            waiting = self._waiting.setdefault(topic, {})
            waiting.setdefault(body.decision_id, []).append(Released(record, body, ends.decisions))
        self.positions[place] = spans[place].position
        return bool(records)

    async def _read_rest(self, ends: Ends, readers: Readers, spans: Mapping[TopicPartition, Span]) -> None:
        """Whatever still waits when all decisions on it were read is not explained by any."""
        done = self._queue[0].offset if self._queue else self.positions[self._decisions]
        for topic in ends.partners:
            more = True
            while more:
                more = await self._read(topic, ends, readers, spans)
                waiting = self._waiting.get(topic, {})
                for released in [each for same in waiting.values() for each in same if each.decided_below <= done]:
                    self._report(released.record, _INVENTED, False)
                    self._forget(released)

    async def _examine(self, decided: Decided, released: Released, ends: Ends, readers: Readers) -> None:
        decision, key = decided.decision, released.body.prospect_id.encode()
        history, folded = self._history, partial(self._history.folded, key)
        # Of a former topic of the name nothing is left: what it forbade or allowed can't be known any more.
        is_there = decision.consent.topic_id == history.topic_id
        state, later = EMPTY, list[ConsumerRecord]()
        if is_there:
            state = await history.at(decision.consent.offset, key, readers.logs)
            later = await history.behind(key, milliseconds(decision.decided_at), readers.logs)
        before_ms = milliseconds(decision.decided_at - self._margin)
        source = await self._source_of(decided, ends, readers)
        seen = folded(state, [record for record in later if record.timestamp < before_ms])
        away = self._astray.of(key, self.number, before_ms, milliseconds(decision.decided_at))
        # What was home by the decision counts however late it came: the resolution of an event beside which it stands.
        elsewhere = folded(folded(seen, away.home), away.known)
        case = Case(
            released=released,
            decision=decision,
            source=source,
            state=state,
            whole=history.whole and is_there,
            later=seen,
            elsewhere=elsewhere,
            on_their_way=folded(elsewhere, away.on_their_way),
            with_strays=folded(state, away.home),
        )
        verdict = self._judge.judge(case)
        close = verdict.outcome != "leak" and self._judge.forbidden(case, folded(state, later)) is not None
        self._report(released.record, verdict, close)

    async def _source_of(self, decided: Decided, ends: Ends, readers: Readers) -> Source:
        place, again = decided.decision.source, decided.decision.attempt > 1
        moved = ends.grown and again and place.partition != self.number
        if place.topic != self._transfers.topic or place.partition not in ends.transfers:
            return Source()
        if place.partition != self.number and not moved:
            return Source()
        begin, end = ends.transfers[place.partition]
        if place.topic_id != self.lives.own(place.topic, place.partition) or place.offset < begin:
            return Source(gone=True, moved=moved)
        if not moved:
            return Source(await (readers.replayed if again else readers.transfers).at(place.offset))
        lookup = readers.replayed
        lookup.turn_to(TopicPartition(place.topic, place.partition), begin, end)
        source = Source(await lookup.at(place.offset), moved=True)
        lookup.turn_to(self._transfers, *ends.transfers[self.number])
        return source

    def _forget(self, released: Released) -> None:
        waiting = self._waiting[released.record.topic]
        same = waiting[released.body.decision_id]
        same.remove(released)
        if not same:
            del waiting[released.body.decision_id]
