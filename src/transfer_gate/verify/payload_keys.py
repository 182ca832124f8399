"""Payloads in quarantine that are encrypted: opened where their key can be had, so that bytes can be compared."""

import msgspec
from msgspec import Struct

from transfer_gate.kafka.reader import Offsets
from transfer_gate.kafka.session import Session
from transfer_gate.model.state import SealingKey
from transfer_gate.records import headers as names
from transfer_gate.records.headers import Headers
from transfer_gate.records.placements import UNGROWN, Placements
from transfer_gate.records.quarantined import Opener, decode_quarantined
from transfer_gate.records.sealing import MasterKeys, SealError, is_key_of_day, load_master_keys


class _KeyOfState(Struct):
    """The part of a prospect's state that opens its payloads."""

    sealing_key: SealingKey | None = None


_STATE = msgspec.json.Decoder(_KeyOfState)
_KEY = msgspec.json.Decoder(SealingKey)


class Payloads:
    """Opens the payloads of one partition at a time: its keys are held, wrapped, some 300 bytes a prospect."""

    def __init__(self, session: Session, placements: Placements = UNGROWN, partitions: int = 0) -> None:
        """`placements`, `partitions`: of the changelog. Where the topics have grown, the keys of a partition's records
        may lie in other partitions, and those of all prospects are held. Raises InvalidInput when the key file is none.
        """
        self._session = session
        self._placements = placements
        self._partitions = partitions
        file = session.settings.quarantine_key_file
        self._masters: MasterKeys | None = load_master_keys(file) if file is not None else None
        self._keys: dict[int, bytes] = {}
        self._opener = Opener(self._key_of, self._masters)
        #: Sealed payloads that could not be opened.
        self.unopened = 0

    @property
    def has_masters(self) -> bool:
        """Whether anything can be opened at all."""
        return self._masters is not None

    async def load(self, partition: int) -> None:
        """Read the keys of a partition from the consent changelog, as of now."""
        self._keys = {}
        changelog = self._session.settings.topics.changelog
        grown, now = self._placements.grown, self._placements.now
        count = self._partitions if grown else partition + 1
        _, ends = await self._session.reader.bounds({changelog: count}, committed_only=False)
        wanted: Offsets = {place: end for place, end in ends.items() if grown or place.partition == partition}
        async for records in self._session.reader.records(wanted):
            for record in records:
                foreign = record.partition != partition
                if grown and (
                    foreign if is_key_of_day(record.key or b"") else now.misplaced(record.key, record.partition)
                ):
                    continue  # of another partition's day, or left behind
                key = _STATE.decode(record.value).sealing_key if record.value is not None else None
                if key is None:
                    self._keys.pop(hash(record.key), None)
                else:
                    self._keys[hash(record.key)] = msgspec.json.encode(key)

    def open(self, key: bytes | None, value: bytes | None, sent: Headers) -> tuple[bytes | None, bool]:
        """The payload of a quarantine record, and whether that is what it is: False when it could not be opened."""
        if value is None or not any(name == names.ENCRYPTION for name, _ in sent):
            return value, True
        try:
            return self._opener.open(decode_quarantined(sent), key, value), True
        except (SealError, ValueError):
            self.unopened += 1
            return value, False

    def _key_of(self, owner: bytes) -> SealingKey | None:
        packed = self._keys.get(hash(owner))
        return _KEY.decode(packed) if packed is not None else None
