"""What is open: the oldest record in quarantine, which retention deletes one day, decided or not; and replay runs, by
the audit topic, where a run writes when it starts and when it ends.
"""

from contextlib import aclosing
from typing import Final

import msgspec

from transfer_gate.kafka import ConsumerRecord, TopicPartition
from transfer_gate.kafka.reader import Reader
from transfer_gate.kafka.session import Session
from transfer_gate.operators import AuditEvent
from transfer_gate.quarantine.search import quarantine_ends
from transfer_gate.records.audit_events import decode_audit_event
from transfer_gate.records.ledger import LedgerIndex, may_be_replayed
from transfer_gate.records.quarantined import MalformedHeaders, decode_quarantined
from transfer_gate.replay.plan_store import CANCELLED, RUN

#: Copies of unreadable consent events are settled by a resolution, which the ledger does not know.
_CONSENT: Final = "consent"


class OldestOpen:
    """Remembers how far quarantine is settled and the status of each id, so that a look reads what is new and little
    else. Some 130 bytes for each entry of the ledger.
    """

    def __init__(self) -> None:
        self._settled: dict[TopicPartition, int] = {}
        self._ledger = LedgerIndex()
        self._read: dict[TopicPartition, int] = {}

    async def since_ms(self, session: Session) -> int | None:
        """When the oldest open record was quarantined (broker's clock, ms since the epoch); None when none is open.

        Raises InvalidInput without the topics, BrokerUnavailable.
        """
        ends = await quarantine_ends(session)
        await self._follow_ledger(session, len(ends))
        found = [await self._first_open(session.reader, place, end) for place, end in ends.items()]
        return min((since for since in found if since is not None), default=None)

    async def _follow_ledger(self, session: Session, partitions: int) -> None:
        """Read the ledger on to its end."""
        reader = session.reader
        _, ends = await reader.bounds({session.settings.topics.ledger: partitions}, committed_only=False)
        left = {place: end for place, end in ends.items() if self._read.get(place, 0) < end}
        starts = {place: self._read.get(place, 0) for place in left}
        async with aclosing(reader.records(left, starts)) as batches:
            async for records in batches:
                for record in records:
                    if record.key is not None and record.value is not None:
                        self._ledger.put(record.key, record.value)
        self._read.update(left)

    async def _first_open(self, reader: Reader, place: TopicPartition, end: int) -> int | None:
        settled = self._settled.get(place, 0)
        if settled >= end:
            return None
        reading = reader.records({place: end}, {place: settled})
        async with aclosing(reading) as batches:
            async for records in batches:
                for record in records:
                    if self._is_open(record):
                        self._settled[place] = record.offset
                        return int(record.timestamp)
        self._settled[place] = end
        return None

    def _is_open(self, record: ConsumerRecord) -> bool:
        try:
            held = decode_quarantined(record.headers)
        except MalformedHeaders:
            return False
        return held.stage != _CONSENT and may_be_replayed(self._ledger.get(held.quarantine_id), held.attempt)


class OpenRuns:
    """Remembers how far it read. A run that was killed stays open until it is resumed to its end, or cancelled."""

    def __init__(self) -> None:
        self._read: dict[TopicPartition, int] = {}
        self._open: set[str] = set()

    async def count(self, session: Session) -> int:
        """Runs that are not at their end, as of now. Raises BrokerUnavailable."""
        reader = session.reader
        begins, ends = await reader.bounds({session.settings.topics.audit: 1}, committed_only=True)
        starts = {place: max(self._read.get(place, 0), begin) for place, begin in begins.items()}
        left = {place: end for place, end in ends.items() if starts[place] < end}
        async with aclosing(reader.records(left, {place: starts[place] for place in left})) as batches:
            async for records in batches:
                for record in records:
                    self._take(record.value)
        self._read.update(left)
        return len(self._open)

    def _take(self, value: bytes | None) -> None:
        try:
            event = decode_audit_event(value)
        except msgspec.DecodeError:
            return
        if event.plan_id is None or event.outcome == "refused":
            return
        if event.action == RUN:
            (self._open.add if _begins(event) else self._open.discard)(event.plan_id)
        elif event.action == CANCELLED:
            self._open.discard(event.plan_id)


def _begins(event: AuditEvent) -> bool:
    return event.outcome == "started"
