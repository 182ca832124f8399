"""Consent events that are not applied yet when an installation grows: applied as a worker would, deciding nothing.

There are some where topics were given more partitions by hand, under which no worker decides, or where the group's
offsets were set back to have the history folded anew. Those in a place that is not their key's go home by the topic of
strays; so all partitions apply their events first, and then what came home.
"""

from msgspec.structs import replace

from transfer_gate.gate.inbox import Fetched, Offsets
from transfer_gate.gate.monitoring import Meter
from transfer_gate.gate.partition import Partition, Shared
from transfer_gate.growth.owned import AllPartitions, Held
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.reader import Reader
from transfer_gate.kafka.watermarks import Watermarks
from transfer_gate.records.sealing import Sealing


async def apply_events(reader: Reader, all_of: AllPartitions, sealing: Sealing, under: int) -> int:
    """Apply every consent event and stray that stands behind the group's offsets; returns how many.

    Commits note the partition count `under`, which keeps workers from deciding as long as not everything is in its
    place. Waits for transactions that are open. Raises RoundFailed, HistoryLost, BrokerUnavailable.
    """
    book = all_of.book
    watermarks = Watermarks(all_of.options, (book.consents, book.strays))
    await watermarks.start()
    try:
        applied = 0
        while behind := await _behind(reader, all_of):
            topic = book.consents if any(place.topic == book.consents for place in behind) else book.strays
            for place, (start, end) in behind.items():
                if place.topic == topic:
                    applied += await _apply(reader, all_of, place, start, end, watermarks, sealing, under)
        return applied
    finally:
        await watermarks.close()


async def _behind(reader: Reader, all_of: AllPartitions) -> dict[TopicPartition, tuple[int, int]]:
    """Partitions of consents and strays of which not everything is applied: from where on, and where they end."""
    book, count = all_of.book, len(all_of.held)
    begins, ends = await reader.bounds({book.consents: count, book.strays: count}, committed_only=False)
    reached = {place: all_of.held[place.partition].committed.get(place.topic, begins[place]) for place in ends}
    return {place: (reached[place], end) for place, end in ends.items() if reached[place] < end}


async def _apply(
    reader: Reader,
    all_of: AllPartitions,
    place: TopicPartition,
    start: int,
    end: int,
    watermarks: Watermarks,
    sealing: Sealing,
    under: int,
) -> int:
    held = all_of.held[place.partition]
    partition = _partition(all_of, held, watermarks, sealing, under)
    count = 0
    async for records in reader.records({place: end}, {place: start}):
        partition.receive(place.topic, Fetched.of(records, records[-1].offset + 1))
        await partition.work()
        count += len(records)
    partition.receive(place.topic, Fetched.of((), end))
    await partition.work()
    reached = partition.offsets.known(all_of.book)
    # The leader epoch of what was applied here is not known (KIP-320): a worker notes the next one.
    lives = {
        topic: life if held.committed.get(topic) == reached.get(topic) else life._replace(epoch=-1)
        for topic, life in held.note.topics.items()
    }
    held.committed, held.note = reached, replace(held.note, topics=lives)
    return count


def _partition(all_of: AllPartitions, held: Held, watermarks: Watermarks, sealing: Sealing, under: int) -> Partition:
    """A partition that is given no transfers, so that it decides none."""
    settings, book = all_of.settings, all_of.book
    shared = Shared(
        book=book,
        watermark=watermarks,
        meter=Meter(book),
        round_records=settings.max_round_records,
        inbox_records=settings.max_inbox_records,
        sealing=sealing,
    )
    return Partition(
        held.number,
        shared,
        held.tables,
        held.writer,
        Offsets.of(book, held.committed),
        replace(held.note, partitions=under),
    )
