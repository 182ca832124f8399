"""The replay ledger in numbers: some 100 bytes an entry, and only what was ever replayed or discarded has one."""

from typing import Final, NamedTuple

from aiokafka import ConsumerRecord

from transfer_gate.records.ledger import decode_entry

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
        #: By partition of the ledger. Two may hold copies of an entry (`topics grow`): the newest counts.
        self._partitions: dict[int, dict[int, int]] = {}
        self._joined: dict[int, int] | None = None
        self._moving: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._entries or self._moving)

    @property
    def _entries(self) -> dict[int, int]:
        if self._joined is None:
            first, *others = self._partitions.values() or ({},)
            joined = dict(first) if others else first
            for entries in others:
                for name, packed in entries.items():
                    joined[name] = max(packed, joined.get(name, 0))
            self._joined = joined
        return self._joined

    def add(self, record: ConsumerRecord) -> None:
        """Take in one record, in the order of its partition."""
        if record.key is None:
            return
        entries = self._partitions.setdefault(record.partition, {})
        self._joined = None
        if record.value is None:  # quarantine has deleted its record
            entries.pop(hash(record.key.decode()), None)
            return
        entry = decode_entry(record.value)
        # A record that could not be read at first has no channels of its own: it was split, if only into released ones.
        whole = entry.state == "replayed" and not entry.released
        state = SPLIT if whole else _STATES[entry.state]
        entries[hash(record.key.decode())] = entry.attempt << 2 | state

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
