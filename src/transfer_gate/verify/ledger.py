"""The replay ledger in numbers: some 100 bytes an entry, and only what was ever replayed or discarded has one."""

from typing import Final, NamedTuple

from aiokafka import ConsumerRecord

from transfer_gate.wire.ledger import decode_entry

OPEN: Final = 0
REPLAYED: Final = 1
DISCARDED: Final = 2
#: Replayed, and now one record for each partner that is still held.
SPLIT: Final = 3
_STATES: Final = {"open": OPEN, "replayed": REPLAYED, "discarded": DISCARDED}


class Entry(NamedTuple):
    """State and newest attempt of a quarantine id."""

    state: int
    attempt: int


class ReplayLedger:
    """Entries as of a moment, and which of them changed afterwards, while outcomes were read."""

    def __init__(self) -> None:
        self._entries: dict[int, int] = {}
        self._moving: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._entries or self._moving)

    def add(self, record: ConsumerRecord) -> None:
        """Take in one record, in the order of its partition."""
        if record.key is None:
            return
        if record.value is None:  # quarantine has deleted its record
            self._entries.pop(hash(record.key.decode()), None)
            return
        entry = decode_entry(record.value)
        # A record that could not be read at first has no channels of its own: it was split, if only into released ones.
        whole = entry.state == "replayed" and not entry.released
        state = SPLIT if whole else _STATES[entry.state]
        self._entries[hash(record.key.decode())] = entry.attempt << 2 | state

    def add_change(self, record: ConsumerRecord) -> None:
        """Take in one record that was written after the moment."""
        if record.key is not None:
            self._moving.add(hash(record.key.decode()))

    def get(self, quarantine_id: str) -> Entry | None:
        """The entry of an id."""
        packed = self._entries.get(hash(quarantine_id))
        return None if packed is None else Entry(packed & 3, packed >> 2)

    def moves(self, quarantine_id: str) -> bool:
        """Whether it changed after the moment: then outcomes may be newer than the entry."""
        return hash(quarantine_id) in self._moving
