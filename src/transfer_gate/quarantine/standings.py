"""Which quarantined records of a partition are open: its replay ledger, in about 130 bytes an entry."""

from typing import Final, get_args
from uuid import UUID

import msgspec
from aiokafka import TopicPartition
from msgspec import Struct

from transfer_gate.admin.reading import committed_records
from transfer_gate.settings import Settings
from transfer_gate.wire.ledger import Standing, State

_STATES: Final[tuple[State, ...]] = get_args(State)
_RANK: Final = {state: rank for rank, state in enumerate(_STATES)}


class _Read(Struct):
    """Of an entry, what is kept."""

    state: State
    attempt: int


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
        self._by_id[UUID(quarantine_id.decode()).int] = read.attempt * len(_STATES) + _RANK[read.state]

    def get(self, quarantine_id: str, /) -> Standing | None:
        """What happened last to this quarantine id; None when nothing did."""
        packed = self._by_id.get(UUID(quarantine_id).int)
        if packed is None:
            return None
        attempt, rank = divmod(packed, len(_STATES))
        return Standing(_STATES[rank], attempt)


async def read_standings(settings: Settings, partition: int, end: int) -> Standings:
    """The standings of one partition of quarantine, whose ledger partition ends at `end`: they have one number."""
    standings = Standings()
    if end > 0:
        async for records in committed_records(settings, {TopicPartition(settings.topics.ledger, partition): end}):
            for record in records:
                if record.key is not None and record.value is not None:
                    standings.put(record.key, record.value)
    return standings
