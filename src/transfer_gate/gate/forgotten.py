"""Whether the brokers forgot the group: the offsets of one that stands still expire (`offsets.retention.minutes`),
those of all its partitions at once; what it wrote stays.

A partition without a state and without an offset looks like one that was never decided. So it is the whole group that
is looked at: every partition notes something beside its offsets a second after it was first taken over, and whatever
stands in the changelog was committed with a note.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from transfer_gate.gate.history import read_note
from transfer_gate.gate.identity import Identities
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.kafka.clients import connected
from transfer_gate.kafka.transaction import Committed, TransactionalWriter

#: Fetched of each partition for a look whether there is anything, bytes.
_LOOK_BYTES: Final = 64 << 10

Offsets = Mapping[tuple[str, int], Committed]


async def lacking_offsets(
    writer: TransactionalWriter, options: Mapping[str, Any], book: Rulebook, identities: Identities, known: Offsets
) -> frozenset[int]:
    """Partitions of which a forgotten group has no offset of transfers; none for a group that is known, or new.

    `known`: what the group has committed, as of a moment ago. Raises RoundFailed when the cluster does not answer.
    """
    if _noted(known, book.inputs):
        return frozenset()
    logs = [(topic, identities[topic].partitions) for topic in (book.changelog, book.ledger)]
    if not any([await any_committed(options, topic, count) for topic, count in logs]):
        return frozenset()
    # Once more, behind the logs: another worker may just be committing the first round of a new installation.
    numbers = range(identities[book.transfers].partitions)
    found = await writer.committed_unless_pending(book.inputs, numbers)
    if found is None or _noted(found, book.inputs):
        return frozenset()
    return frozenset(numbers) - {number for topic, number in found if topic == book.transfers}


def _noted(offsets: Offsets, inputs: Collection[str]) -> bool:
    return any(read_note(found) is not None for (topic, _), found in offsets.items() if topic in inputs)


async def any_committed(options: Mapping[str, Any], topic: str, partitions: int) -> bool:
    """Whether a topic holds a committed record, up to its ends as of now. Raises errors of aiokafka."""
    reader = AIOKafkaConsumer(
        **options,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=_LOOK_BYTES,
        fetch_max_wait_ms=100,
    )
    async with connected(reader):
        places = [TopicPartition(topic, number) for number in range(partitions)]
        begins, ends = await reader.beginning_offsets(places), await reader.end_offsets(places)
        left = [place for place in places if begins[place] < ends[place]]
        if left:
            reader.assign(left)
        while left:
            if any((await reader.getmany(*left, timeout_ms=50, max_records=1)).values()):
                return True
            left = [place for place in left if await reader.position(place) < ends[place]]
        return False
