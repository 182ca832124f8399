"""The tables of one partition: the consent table, prospect (record key) to folded state (bytes), and the replay ledger;
each with the position in its changelog, and brought up to its end in bulk.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol

from transfer_gate.gate.integrity.logs import require_log, require_whole, written_past
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.log_reader import open_log_reader
from transfer_gate.records.commit_notes import Reach

#: Bytes that one fetch may bring of one partition, and that wait to be read of all, if there are not very many.
FETCH_BYTES: Final = 8 << 20
_FETCHED_BYTES: Final = 64 << 20
_LEAST_FETCH: Final = 1 << 20


#: How keys begin that no prospect has, since they are not UTF-8: keys of days, served indexes.
BESIDE: Final = b"\xff"


class Slice(Protocol):
    """One partition of the table. It only ever holds what is committed in the changelog below `position`."""

    #: The next changelog offset that it does not hold.
    position: int
    #: Of which life of the changelog it is (see `gate.integrity.commit_note`); empty when that is not known.
    life: str

    def get(self, key: bytes) -> bytes | None:
        """State of a prospect."""

    def update(self, changes: Mapping[bytes, bytes | None], position: int) -> None:
        """Take over committed changes, no value meaning removed, and the position after them, atomically."""

    def clear(self) -> None:
        """Forget everything."""

    def close(self) -> None:
        """Release files; the slice is not used afterwards."""

    def __len__(self) -> int: ...

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        """Every prospect and its state, in no particular order."""


class MemorySlice:
    """`memory://`: restored from the changelog at every start. What lies beside the states of prospects is not counted
    by `len`.
    """

    __slots__ = ("_beside", "_states", "life", "position")

    def __init__(self, position: int = 0) -> None:
        self._states: dict[bytes, bytes] = {}
        self._beside: dict[bytes, bytes] = {}
        self.position = position
        self.life = ""

    def get(self, key: bytes) -> bytes | None:
        """See Slice."""
        return (self._beside if key.startswith(BESIDE) else self._states).get(key)

    def update(self, changes: Mapping[bytes, bytes | None], position: int) -> None:
        """See Slice."""
        states, beside = self._states, self._beside
        for key, value in changes.items():
            entries = beside if key.startswith(BESIDE) else states
            if value is None:
                entries.pop(key, None)
            else:
                entries[key] = value
        self.position = position

    def clear(self) -> None:
        """See Slice."""
        self._states.clear()
        self._beside.clear()
        self.position = 0
        self.life = ""

    def close(self) -> None:
        """See Slice."""

    def __len__(self) -> int:
        return len(self._states)

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        """See Slice."""
        return chain(self._states.items(), self._beside.items())


SliceFactory = Callable[[str, int], Slice]
"""Makes the slice of a partition of a compacted topic, given by name and number."""


class Tables(NamedTuple):
    """What a partition remembers: the consent table, and the replay ledger by quarantine id."""

    consent: Slice
    ledger: Slice


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
    """Read what each slice lacks, by position, up to the end of the log as it is now; returns the number of records
    read. (Faust's own recovery waits for the offset of the last record; the last offset of a transactional changelog is
    a commit marker, which never comes.)

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
            raise written_past(changelog, place.partition, reached[place])
        count = 0
        starts = {place: table.position for place, table in behind.items()}
        async for place, records, position in reader.read(starts, ends):
            require_whole(changelog, place.partition, records)
            changes = {record.key: record.value for record in records if record.key is not None}
            behind[place].update(changes, position)
            count += len(records)
            progress(place.partition, max(0, ends[place] - position), len(records))
        return count
