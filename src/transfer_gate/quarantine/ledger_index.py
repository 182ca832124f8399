"""Which quarantined records of a partition are open: its replay ledger, in about 130 bytes an entry."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Final, get_args
from uuid import UUID

import msgspec
from aiokafka import TopicPartition
from msgspec import Struct

from transfer_gate.kafka.reader import committed_records, offsets_at
from transfer_gate.records.ledger import Standing, State
from transfer_gate.settings import Settings

_STATES: Final[tuple[State, ...]] = get_args(State)
_RANK: Final = {state: rank for rank, state in enumerate(_STATES)}


class _Read(Struct):
    """Of an entry, what is kept."""

    state: State
    attempt: int


#: How far the clocks of workers (they stamp the ledger) and of brokers (they stamp quarantine) may be apart.
_CLOCKS: Final = dt.timedelta(hours=1)

_DECODER: Final = msgspec.json.Decoder(_Read)


class Standings:
    """Quarantine id to state and attempt. Both lie in one number, since a million objects would take 300 MB."""

    def __init__(self) -> None:
        self._by_id: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def put(self, quarantine_id: bytes, entry: bytes) -> None:
        """Take an entry as it lies in the ledger. Raises msgspec.DecodeError when it is damaged."""
        read = _DECODER.decode(entry)
        name, packed = UUID(quarantine_id.decode()).int, read.attempt * len(_STATES) + _RANK[read.state]
        # Two partitions may hold copies of an entry (`topics grow`): the newest counts.
        self._by_id[name] = max(packed, self._by_id.get(name, 0))

    def packed(self) -> Iterable[tuple[int, int]]:
        """Ids and entries as they are kept."""
        return self._by_id.items()

    def join(self, other: "Standings") -> None:
        """Take in the entries of another partition."""
        for name, packed in other.packed():
            self._by_id[name] = max(packed, self._by_id.get(name, 0))

    def drop(self, quarantine_id: bytes) -> None:
        """Forget an entry: quarantine has deleted its record."""
        self._by_id.pop(UUID(quarantine_id.decode()).int, None)

    def get(self, quarantine_id: str, /) -> Standing | None:
        """What happened last to this quarantine id; None when nothing did."""
        packed = self._by_id.get(UUID(quarantine_id).int)
        if packed is None:
            return None
        attempt, rank = divmod(packed, len(_STATES))
        return Standing(_STATES[rank], attempt)


async def starts_of(settings: Settings, ends: Mapping[int, int], since: dt.datetime | None) -> dict[int, int]:
    """By partition, from which offset of the ledger on it tells of every record that was quarantined from `since` on.

    An entry is written with the quarantine record that it tells of, or later, so older ones tell of older records.
    """
    if since is None:
        return {}
    places = {TopicPartition(settings.topics.ledger, partition): partition for partition, end in ends.items() if end}
    if not places:
        return {}
    found = await offsets_at(settings, places, int((since - _CLOCKS).timestamp() * 1000))
    return {partition: found.get(place, ends[partition]) for place, partition in places.items()}


async def read_standings(settings: Settings, partition: int, end: int, start: int = 0) -> Standings:
    """The standings of one partition of quarantine, by its ledger partition (they have one number) from `start` to
    `end`, where it ends."""
    standings = Standings()
    if start < end:
        place = TopicPartition(settings.topics.ledger, partition)
        async for records in committed_records(settings, {place: end}, {place: start} if start else None):
            for record in records:
                if record.key is None:
                    continue
                if record.value is None:
                    standings.drop(record.key)
                else:
                    standings.put(record.key, record.value)
    return standings


class StandingsOf:
    """The standings of one partition of quarantine after the other, by the ledger from `starts` to `ends`.

    Since the topics have `grown`, what became of a partition's records may stand in any partition of the ledger: then
    it is read whole, once.
    """

    def __init__(self, settings: Settings, ends: Mapping[int, int], starts: Mapping[int, int], *, grown: bool) -> None:
        self._settings = settings
        self._ends = ends
        self._starts = starts
        self._grown = grown
        self._whole: Standings | None = None

    async def of(self, partition: int) -> Standings:
        """Raises BrokerUnavailable."""
        if not self._grown:
            return await self._read(partition)
        if self._whole is None:
            self._whole = Standings()
            for number in self._ends:
                self._whole.join(await self._read(number))
        return self._whole

    async def _read(self, partition: int) -> Standings:
        start, end = self._starts.get(partition, 0), self._ends.get(partition, 0)
        return await read_standings(self._settings, partition, end, start)
