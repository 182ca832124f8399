"""How long the oldest quarantined record has been open: retention deletes it one day, decided or not."""

from contextlib import aclosing
from typing import Final

from transfer_gate.kafka.reader import Reader
from transfer_gate.kafka.session import open_session
from transfer_gate.kafka.types import ConsumerRecord, TopicPartition
from transfer_gate.quarantine.search import quarantine_ends
from transfer_gate.records.ledger import LedgerIndex, may_be_replayed
from transfer_gate.records.quarantined import MalformedHeaders, held_of
from transfer_gate.settings import Settings

#: Copies of unreadable consent events are settled by a resolution, which the ledger does not know.
_CONSENT: Final = "consent"


class OldestOpen:
    """Remembers how far quarantine is settled and what the ledger said, so that a look reads what is new and little
    else. Some 130 bytes for each entry of the ledger.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._settled: dict[TopicPartition, int] = {}
        self._ledger = LedgerIndex()
        self._read: dict[TopicPartition, int] = {}

    async def since_ms(self) -> int | None:
        """When the oldest open record was quarantined (broker's clock, ms since the epoch); None when none is open.

        Raises InvalidInput without the topics, BrokerUnavailable.
        """
        async with open_session(self._settings) as session:
            ends = await quarantine_ends(session)
            await self._follow_ledger(session.reader, len(ends))
            found = [await self._first_open(session.reader, place, end) for place, end in ends.items()]
        return min((since for since in found if since is not None), default=None)

    async def _follow_ledger(self, reader: Reader, partitions: int) -> None:
        """Read the ledger on to its end."""
        _, ends = await reader.bounds({self._settings.topics.ledger: partitions}, committed_only=False)
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
            held = held_of(record.headers)
        except MalformedHeaders:
            return False
        return held.stage != _CONSENT and may_be_replayed(self._ledger.get(held.quarantine_id), held.attempt)
