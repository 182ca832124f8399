"""Where records were placed while a topic still had fewer partitions, by the notes beside committed offsets.

`topics grow` notes, for each partition, up to which offset its records were placed under the former count. What stands
below is in its place by that count, though its key belongs to another partition now.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from transfer_gate.records.commit_notes import Placed, decode_note
from transfer_gate.records.partitioner import Placement

Earlier = Mapping[tuple[str, int], Sequence[Placed]]
"""By topic and partition, the oldest first."""


class Placements:
    """Where keys belong now, and where they belonged when a record was placed."""

    def __init__(self, partitioner: str, partitions: int | None, earlier: Earlier | None = None) -> None:
        """`partitions`: the count now."""
        self.now = Placement(partitioner, partitions)
        self._earlier = {place: tuple(sorted(found, key=_below)) for place, found in (earlier or {}).items() if found}
        self._made_of = partitioner, partitions, self._earlier
        counts = {placed.partitions for found in self._earlier.values() for placed in found}
        self._then = {count: Placement(partitioner, count) for count in counts}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Placements) and self._made_of == other._made_of

    def __hash__(self) -> int:
        return hash(str(self._made_of))

    @property
    def grown(self) -> bool:
        """Whether any record was placed under another count than that of now."""
        return bool(self._earlier)

    def misplaced(self, topic: str, partition: int, offset: int, key: bytes | None) -> bool:
        """Whether the partitioner can't have put this record there, by the count that its topic had then."""
        return self._at(topic, partition, offset).misplaced(key, partition)

    def moved(self, topic: str, partition: int, offset: int, key: bytes | None) -> bool:
        """Whether this record was in its place when it was placed, and its key belongs to another partition now."""
        then = self._at(topic, partition, offset)
        return then is not self.now and not then.misplaced(key, partition) and self.now.misplaced(key, partition)

    def _at(self, topic: str, partition: int, offset: int) -> Placement:
        for placed in self._earlier.get((topic, partition), ()):
            if offset < placed.below:
                return self._then[placed.partitions]
        return self.now


class TopicPlacements(NamedTuple):
    """`Placements` for one topic."""

    placements: Placements
    topic: str = ""

    def misplaced(self, key: bytes | None, partition: int, offset: int) -> bool:
        """See `Placements.misplaced`."""
        return self.placements.misplaced(self.topic, partition, offset, key)

    def moved(self, key: bytes | None, partition: int, offset: int) -> bool:
        """See `Placements.moved`."""
        return self.placements.moved(self.topic, partition, offset, key)


UNGROWN: Final = Placements("murmur2", None)
EVERYWHERE: Final = TopicPlacements(UNGROWN)


def earlier_of(
    committed: Mapping[tuple[str, int], tuple[int, str]], partitions: int, topics: Sequence[str]
) -> dict[tuple[str, int], list[Placed]]:
    """Placements of some `topics` by the group's commits: offset and note by topic and partition.

    Offsets that were committed under another count than `partitions`, with no `topics grow` since, bound what was
    placed under that one.
    """
    earlier: dict[tuple[str, int], list[Placed]] = {}
    for (_, number), (_, text) in committed.items():
        note = decode_note(text)
        if note is None:
            continue
        for topic in topics:
            if (topic, number) in earlier:
                continue
            life = note.topics.get(topic)
            found = [*(life.placed if life is not None else ())]
            known = {0, partitions, *(placed.partitions for placed in found)}
            if note.partitions not in known and number < note.partitions and (topic, number) in committed:
                found.append(Placed(note.partitions, committed[topic, number][0]))
            earlier[topic, number] = found
    return {place: found for place, found in earlier.items() if found}


def _below(placed: Placed) -> int:
    return placed.below
