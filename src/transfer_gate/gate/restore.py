"""Bring slices up to the end of the changelog, in bulk, by consumer position.

Faust's own recovery waits for the offset of the last record to come by; the last offset of a transactional
changelog is a commit marker, which never comes. A position moves past it.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer

from transfer_gate.gate.integrity.logs import require_boundary, require_log
from transfer_gate.gate.table import Slice
from transfer_gate.kafka.types import TopicPartition
from transfer_gate.records.commit_notes import Reach

#: Bytes that one fetch may bring of one partition, and that wait to be read of all, if there are not very many.
FETCH_BYTES: Final = 8 << 20
_FETCHED_BYTES: Final = 64 << 20
_LEAST_FETCH: Final = 1 << 20


def _no_progress(_partition: int, _remaining: int, _read: int) -> None:
    """Progress that is not followed."""


async def restore(
    options: Mapping[str, Any],
    changelog: str,
    slices: Mapping[int, Slice],
    reaches: Mapping[int, Reach],
    progress: Callable[[int, int, int], None] = _no_progress,
) -> int:
    """Read what each slice lacks, up to the end of the log as it is now; returns the number of records read.

    The caller must have fenced earlier owners, else the end moves. `reaches`: what was committed of each partition;
    raises HistoryLost when the log holds less. Otherwise a slice of another life of the log, or that does not fit
    between its ends, is rebuilt. `progress` gets partition, remaining offsets, and how many records were read since it
    was last called.
    """
    reader = AIOKafkaConsumer(
        **options,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=max(_LEAST_FETCH, min(FETCH_BYTES, _FETCHED_BYTES // max(1, len(slices)))),
        fetch_max_wait_ms=100,
    )
    try:
        await reader.start()
        places = {TopicPartition(changelog, number): table for number, table in slices.items()}
        ends = await reader.end_offsets(list(places))
        begins = await reader.beginning_offsets(list(places))
        behind: dict[TopicPartition, Slice] = {}
        for place, table in places.items():
            begin, end, reach = begins[place], ends[place], reaches[place.partition]
            fits = table.life == reach.life and begin <= table.position <= end
            held = table.position if fits else 0
            require_log(changelog, place.partition, reach.end, held, begin, end)
            if not fits:
                table.clear()
                table.life = reach.life
            table.position = max(table.position, begin)
            if table.position < end:
                behind[place] = table
        reached = {place: reaches[place.partition].end for place in places}
        await _require_boundaries(reader, {place: end for place, end in reached.items() if 0 < end < ends[place]})
        return await _read(reader, behind, ends, progress) if behind else 0
    finally:
        await reader.stop()


async def _require_boundaries(reader: AIOKafkaConsumer, reached: Mapping[TopicPartition, int]) -> None:
    """Hold that in each log a batch ends where committed rounds did. Raises HistoryLost."""
    if not reached:
        return
    reader.assign(list(reached))
    for place, offset in reached.items():
        reader.seek(place, offset)
    left = set(reached)
    while left:
        await reader.getmany(*left, timeout_ms=50, max_records=1)
        for place in {place for place in left if await reader.position(place) > reached[place]}:
            # aiokafka has no public place for what `kafka.unpacking` finds in a fetch.
            state = reader._subscription.subscription.assignment.state_value(place)  # noqa: SLF001
            require_boundary(place.topic, place.partition, reached[place], inside=getattr(state, "inside", False))
            left.discard(place)
            reader.pause(place)


async def ends_of(options: Mapping[str, Any], topic: str, numbers: set[int]) -> dict[int, int]:
    """Where the log of each partition ends now."""
    if not numbers:
        return {}
    reader = AIOKafkaConsumer(**options)
    try:
        await reader.start()
        ends = await reader.end_offsets([TopicPartition(topic, number) for number in numbers])
        return {place.partition: end for place, end in ends.items()}
    finally:
        await reader.stop()


async def _read(
    reader: AIOKafkaConsumer,
    behind: dict[TopicPartition, Slice],
    ends: Mapping[TopicPartition, int],
    progress: Callable[[int, int, int], None],
) -> int:
    reader.assign(list(behind))
    for place, table in behind.items():
        reader.seek(place, table.position)
    records = 0
    while behind:
        fetched = await reader.getmany(*behind, timeout_ms=50, max_records=20_000)
        for place, table in list(behind.items()):
            batch = fetched.get(place, [])
            position = await reader.position(place)
            if batch or position > table.position:
                table.update({record.key: record.value for record in batch if record.key is not None}, position)
                records += len(batch)
                progress(place.partition, max(0, ends[place] - position), len(batch))
            if position >= ends[place]:
                del behind[place]
                reader.pause(place)
        await asyncio.sleep(0)  # heartbeats and health checks share this loop
    return records
