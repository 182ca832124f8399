"""Originals of records that are quarantined by reference: read from the topic where they stand, and compared with what
the reference (header `tg-reference`) states.

A reference is no proof: the original may have been deleted by retention, or another record may stand at its offset,
where the topic was made anew. So the record that is read has to have the size, the SHA-256 and the key of the original.
"""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from msgspec import Struct

from transfer_gate.errors import BrokerUnavailable
from transfer_gate.gate.inbox import Record
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.reader import Reader
from transfer_gate.kafka.session import Session
from transfer_gate.kafka.sizes import measured, weight
from transfer_gate.records import headers as names
from transfer_gate.records.quarantined import MalformedHeaders, Quarantined, Reference, decode_quarantined
from transfer_gate.records.replay_requests import restored

#: Originals of one round, and their bytes: the round waits for each.
MOST: Final = 20
MOST_BYTES: Final = 8 << 20
#: How long a broker may take to give one original, seconds.
ANSWER_SECONDS: Final = 10.0


class Original(Struct, frozen=True):
    """The record that a reference names, or a sentence on why it can't be had."""

    record: Record | None
    why: str = ""


Found = Mapping[int, Original]
"""Originals by the offset of the record that refers to them."""

NOTHING_FOUND: Final[Found] = {}


def originals_of(session: Session) -> "Originals":
    """A reader of the originals of an installation, for commands."""
    topics = session.settings.topics
    return Originals(session.reader, (topics.transfers, topics.replay))


class Originals:
    """Reads originals, one after the other.

    `topics`: those that may hold an original; no other is read, whatever a header names.
    """

    def __init__(self, reader: Reader, topics: Sequence[str], partitions: int | None = None) -> None:
        """`partitions`: how many these topics have, where that is known."""
        self._reader = reader
        self._topics = topics
        self._partitions = partitions
        self._reading = asyncio.Lock()

    async def of(self, records: Sequence[Record]) -> tuple[int, Found]:
        """How many records, from the first on, can be decided now, and the originals of those among them that refer to
        one: at least one record, up to MOST originals and about MOST_BYTES.

        Raises BrokerUnavailable when the cluster does not answer, AccessDenied when it refuses.
        """
        found: dict[int, Original] = {}
        size = 0
        for count, record in enumerate(records):
            held = _referring(record)
            if held is None or held.reference is None:
                continue
            if len(found) >= MOST or size >= MOST_BYTES:
                return count, found
            original = found[record.offset] = await self._read(held.reference, record, held)
            size += 0 if original.record is None else weight(original.record)
        return len(records), found

    async def _read(self, reference: Reference, record: Record, held: Quarantined) -> Original:
        name = f"{reference.topic}/{reference.partition}, offset {reference.offset}"
        source = held.source
        if (reference.topic, reference.partition, reference.offset) != (source.topic, source.partition, source.offset):
            return Original(None, f"header {names.REFERENCE} is not that of the source: nothing is read")
        outside = self._partitions is not None and not 0 <= reference.partition < self._partitions
        if outside or reference.topic not in self._topics:
            return Original(None, f"{name}: no input of the gate stands there")
        try:
            async with self._reading, asyncio.timeout(ANSWER_SECONDS):
                found = await self._record_at(TopicPartition(reference.topic, reference.partition), reference.offset)
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"the original {name} can't be read: no answer within {ANSWER_SECONDS:g} s",
                do="look at the broker's log, then run the command again",
            ) from error
        if found is None:
            return Original(None, f"the original is gone: {name}; have the source send it again")
        if not is_original(found, reference, record.key):
            why = f"another record stands where the original stood: {name}; have the source send it again"
            return Original(None, why)
        return Original(found)

    async def _record_at(self, place: TopicPartition, offset: int) -> Record | None:
        if not await self._reader.exists(place.topic):
            return None
        return await self._reader.record_at(place, offset)


def is_original(record: Record, reference: Reference, key: bytes | None) -> bool:
    """Whether a record is the one that a quarantine record with the key `key` refers to."""
    if measured(record) != (reference.size, reference.sha256):
        return False
    if reference.key_sha256 is None:
        return bool(record.key == key)
    return record.key is None or sha256(record.key).hexdigest() == reference.key_sha256


def _referring(record: Record) -> Quarantined | None:
    """What the headers of a record say that has its value elsewhere; None for all others."""
    if not any(name == names.REFERENCE for name, _ in record.headers):
        return None
    try:
        return decode_quarantined(restored(record.headers))
    except MalformedHeaders:
        return None
