"""How long the oldest quarantined record has been open: retention deletes it one day, decided or not."""

from contextlib import aclosing
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition

from transfer_gate.admin.reading import committed_records
from transfer_gate.quarantine.selection import OPEN, quarantine_ends, read_ledger, state_of
from transfer_gate.settings import Settings
from transfer_gate.wire.held import MalformedHeaders, held_of
from transfer_gate.wire.ledger import LedgerEntry

#: Copies of unreadable consent events are settled by a resolution, which the ledger does not know.
_CONSENT: Final = "consent"


class OldestOpen:
    """Remembers how far quarantine is settled, so that a look reads the ledger and little else."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._settled: dict[TopicPartition, int] = {}

    async def since_ms(self) -> int | None:
        """When the oldest open record was quarantined (broker's clock, ms since the epoch); None when none is open.

        Raises InvalidInput without the topics, BrokerUnavailable.
        """
        ends = await quarantine_ends(self._settings)
        ledger = await read_ledger(self._settings, len(ends))
        oldest: int | None = None
        for place, end in ends.items():
            found = await self._first_open(place, end, ledger)
            if found is not None and (oldest is None or found < oldest):
                oldest = found
        return oldest

    async def _first_open(self, place: TopicPartition, end: int, ledger: dict[str, LedgerEntry]) -> int | None:
        settled = self._settled.get(place, 0)
        if settled >= end:
            return None
        reading = committed_records(self._settings, {place: end}, {place: settled})
        async with aclosing(reading) as batches:
            async for records in batches:
                for record in records:
                    if _is_open(record, ledger):
                        self._settled[place] = record.offset
                        return int(record.timestamp)
        self._settled[place] = end
        return None


def _is_open(record: ConsumerRecord, ledger: dict[str, LedgerEntry]) -> bool:
    try:
        held = held_of(record.headers)
    except MalformedHeaders:
        return False
    return held.stage != _CONSENT and state_of(held, ledger.get(held.quarantine_id)) == OPEN
