"""How long the oldest quarantined record has been open: retention deletes it one day, decided or not."""

from contextlib import aclosing
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition

from transfer_gate.kafka.reader import bounds, committed_records
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
        ends = await quarantine_ends(self._settings)
        await self._follow_ledger(len(ends))
        oldest: int | None = None
        for place, end in ends.items():
            found = await self._first_open(place, end)
            if found is not None and (oldest is None or found < oldest):
                oldest = found
        return oldest

    async def _follow_ledger(self, partitions: int) -> None:
        """Read the ledger on to its end."""
        _, ends = await bounds(self._settings, {self._settings.topics.ledger: partitions}, committed_only=False)
        left = {place: end for place, end in ends.items() if self._read.get(place, 0) < end}
        starts = {place: self._read.get(place, 0) for place in left}
        async with aclosing(committed_records(self._settings, left, starts)) as batches:
            async for records in batches:
                for record in records:
                    if record.key is not None and record.value is not None:
                        self._ledger.put(record.key, record.value)
        self._read.update(left)

    async def _first_open(self, place: TopicPartition, end: int) -> int | None:
        settled = self._settled.get(place, 0)
        if settled >= end:
            return None
        reading = committed_records(self._settings, {place: end}, {place: settled})
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
