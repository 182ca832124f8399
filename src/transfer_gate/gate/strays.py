"""Consent events that stand in another partition than their key's, and their way home (contract section 3, Strays).

The round that finds one writes it, verbatim, to `transfer-gate-strays`, into the partition of its key, in its own
transaction: once that is committed, the barrier of that partition covers it.
"""

from typing import Final

from transfer_gate.gate.inbox import Record
from transfer_gate.kafka import ConsumerRecord
from transfer_gate.records import headers as names
from transfer_gate.records.partitioner import is_stray_name, place_known_as, stray_offset

#: Beyond every partition: strays whose headers do not name where they stood.
_UNKNOWN_PARTITION: Final = (1 << 14) - 1


def headers_of(record: Record, life: int, *, whole: bool = True) -> list[tuple[str, bytes | None]]:
    """Headers of the record that brings `record` home: its own, if it travels as a `whole`, and where it stood, in
    which `life` of its topic (`Origins.consents_life`).
    """
    return [
        *(names.without_gate_headers(record.headers) if whole else ()),
        (names.SOURCE_TOPIC, record.topic.encode()),
        (names.SOURCE_PARTITION, b"%d" % record.partition),
        (names.SOURCE_OFFSET, b"%d" % record.offset),
        (names.SOURCE_TIMESTAMP_MS, b"%d" % record.timestamp),
        *([(names.SOURCE_LIFE, b"%d" % life)] if life else ()),
    ]


def event_of(record: Record) -> Record:
    """A stray as the consent event that it is: received when it first was, under an offset of its own."""
    own = {name: text or b"" for name, text in record.headers if name.startswith(names.PREFIX)}
    try:
        partition, offset = int(own[names.SOURCE_PARTITION]), int(own[names.SOURCE_OFFSET])
        received, life = int(own[names.SOURCE_TIMESTAMP_MS]), int(own.get(names.SOURCE_LIFE, b"0"))
        name = stray_offset(partition, offset, life)
    except (KeyError, ValueError):
        # Not written by a gate. It may all the same have been a withdrawal.
        name, received = stray_offset(_UNKNOWN_PARTITION, record.offset), record.timestamp
    return ConsumerRecord(
        topic=record.topic,
        partition=record.partition,
        offset=name,
        timestamp=received,
        timestamp_type=record.timestamp_type,
        key=record.key,
        value=record.value,
        checksum=None,
        serialized_key_size=record.serialized_key_size,
        serialized_value_size=record.serialized_value_size,
        headers=record.headers,
    )


def place_of_event(record: Record, consents: str) -> dict[str, object]:
    """Fields of a log line about a consent event, home-brought (`event_of`) or not: where it stood in `consents` at
    first, else, where that is not known, on the topic of strays.
    """
    topic, partition, offset = record.topic, record.partition, record.offset
    if is_stray_name(offset):
        stood, offset = place_known_as(offset, partition)
        if stood != _UNKNOWN_PARTITION:
            topic, partition = consents, stood
    return {"topic": topic, "partition": partition, "offset": offset}
