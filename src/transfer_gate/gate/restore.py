"""Bring slices up to the end of the changelog, in bulk, by consumer position.

Faust's own recovery waits for the offset of the last record to come by; the last offset of a transactional
changelog is a commit marker, which never comes. A position moves past it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from transfer_gate.gate.integrity.logs import require_boundary, require_log, require_whole
from transfer_gate.gate.table import Slice
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.log_reader import open_log_reader
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
    *,
    rack: str | None = None,
) -> int:
    """Read what each slice lacks, up to the end of the log as it is now; returns the number of records read.

    The caller must have fenced earlier owners, else the end moves. `reaches`: what was committed of each partition;
    raises HistoryLost when the log holds less. Otherwise a slice of another life of the log, or that does not fit
    between its ends, is rebuilt. `progress` gets partition, remaining offsets, and how many records were read since it
    was last called. `rack`: that of this process, if replicas in it may be read.
    """
    fetch_bytes = max(_LEAST_FETCH, min(FETCH_BYTES, _FETCHED_BYTES // max(1, len(slices))))
    async with open_log_reader(options, fetch_bytes, rack) as reader:
        places = {TopicPartition(changelog, number): table for number, table in slices.items()}
        begins, ends = await reader.bounds(places)
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
        # Where committed rounds ended, a batch ends.
        reached = {place: end for place in places if 0 < (end := reaches[place.partition].end) < ends[place]}
        for place in await reader.inside_batches(reached):
            require_boundary(changelog, place.partition, reached[place], inside=True)
        count = 0
        starts = {place: table.position for place, table in behind.items()}
        async for place, records, position in reader.read(starts, ends):
            require_whole(changelog, place.partition, records)
            changes = {record.key: record.value for record in records if record.key is not None}
            behind[place].update(changes, position)
            count += len(records)
            progress(place.partition, max(0, ends[place] - position), len(records))
        return count
