"""Read exactly the records that a plan froze, wherever they stand in quarantine, and notice which of them are gone."""

from array import array
from collections.abc import AsyncGenerator, Iterable

from msgspec import Struct

from transfer_gate.kafka import ConsumerRecord, TopicPartition
from transfer_gate.kafka.reader import Reader
from transfer_gate.replay.plan import Item, fingerprint_of


class Reading(Struct, frozen=True):
    """Records of one partition in the order of their offsets, each with the number of its item; numbers of items that
    retention deleted, and of those whose record is another than the one that was planned."""

    records: list[tuple[int, ConsumerRecord]]
    gone: list[int]
    altered: list[int]


async def planned_records(
    reader: Reader, topic: str, wanted: Iterable[tuple[int, Item]], most: int = 500
) -> AsyncGenerator[Reading, None]:
    """The records of items of a quarantine topic, given with their numbers, in lists of up to `most`; partitions take
    turns. Raises BrokerUnavailable.
    """
    offsets: dict[TopicPartition, array[int]] = {}
    items: dict[tuple[int, int], tuple[int, str]] = {}
    for number, item in wanted:
        offsets.setdefault(TopicPartition(topic, item.partition), array("q")).append(item.offset)
        items[item.partition, item.offset] = number, item.fingerprint
    async for picked in reader.pick(offsets, most):
        partition = picked.place.partition
        gone = [items.pop((partition, offset))[0] for offset in picked.missing]
        records, altered = [], []
        for record in picked.records:
            number, fingerprint = items.pop((partition, record.offset))
            if fingerprint_of(record) == fingerprint:
                records.append((number, record))
            else:
                altered.append(number)
        yield Reading(records, gone, altered)
