"""Which quarantined records of a partition are open: its replay ledger, read into an index."""

import datetime as dt
from collections.abc import Mapping
from typing import Final

from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.session import Session
from transfer_gate.records.ledger import LedgerIndex

#: How far the clocks of workers (they stamp the ledger) and of brokers (they stamp quarantine) may be apart.
_CLOCKS: Final = dt.timedelta(hours=1)


async def starts_of(session: Session, ends: Mapping[int, int], since: dt.datetime | None) -> dict[int, int]:
    """By partition, from which offset of the ledger on it has every record that was quarantined from `since` on.

    An entry is written with its quarantine record or later, so older entries are about older records.
    """
    if since is None:
        return {}
    places = {
        TopicPartition(session.settings.topics.ledger, partition): partition for partition, end in ends.items() if end
    }
    if not places:
        return {}
    found = await session.reader.offsets_at(places, int((since - _CLOCKS).timestamp() * 1000))
    return {partition: found.get(place, ends[partition]) for place, partition in places.items()}


async def read_ledger(session: Session, partition: int, end: int, start: int = 0) -> LedgerIndex:
    """The ledger index of one partition of quarantine: the ledger partition of that number, from `start` to `end`."""
    index = LedgerIndex()
    if start < end:
        place = TopicPartition(session.settings.topics.ledger, partition)
        async for records in session.reader.records({place: end}, {place: start} if start else None):
            for record in records:
                if record.key is not None:
                    index.put(record.key, record.value)
    return index


class LedgerReader:
    """The ledger index of one partition of quarantine after the other, by the ledger from `starts` to `ends`.

    Since the topics have `grown`, what became of a partition's records may stand in any partition of the ledger: then
    it is read whole, once.
    """

    def __init__(self, session: Session, ends: Mapping[int, int], starts: Mapping[int, int], *, grown: bool) -> None:
        self._session = session
        self._ends = ends
        self._starts = starts
        self._grown = grown
        self._whole: LedgerIndex | None = None

    async def of(self, partition: int) -> LedgerIndex:
        """The ledger index of a partition. Raises BrokerUnavailable."""
        if not self._grown:
            return await self._read(partition)
        if self._whole is None:
            self._whole = LedgerIndex()
            for number in self._ends:
                self._whole.join(await self._read(number))
        return self._whole

    async def _read(self, partition: int) -> LedgerIndex:
        start, end = self._starts.get(partition, 0), self._ends.get(partition, 0)
        return await read_ledger(self._session, partition, end, start)
