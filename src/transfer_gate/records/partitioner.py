"""Which partition a key belongs to, by the partitioner of the producers: the same answer as theirs, to the bit; and
where records were placed while a topic still had fewer partitions, by the notes beside committed offsets.

- `murmur2`: Kafka's Java client, and every client that follows it: `toPositive(murmur2(key)) % partitions`.
- `crc32`: librdkafka's default, `consistent_random`: `crc32(key) % partitions`; an empty key goes anywhere.

`topics grow` notes, for each partition, up to which offset its records were placed under the former count. What stands
below is in its place by that count, though its key belongs to another partition now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from transfer_gate.records.commit_notes import Placed, decode_note

if TYPE_CHECKING:
    from mypy_extensions import i64  # machine integers, where this module is compiled


MURMUR2: Final = "murmur2"
CRC32: Final = "crc32"


def murmur2(data: bytes) -> int:
    """MurmurHash 2 with the seed of Kafka's `Utils.murmur2`, as an unsigned number of 32 bits.

    Every product stays below 2**63, so that the compiled form needs no big integers.
    """
    m: i64 = 0x5BD1E995
    mask: i64 = 0xFFFFFFFF
    size: i64 = len(data)
    whole: i64 = size & ~3
    h: i64 = (0x9747B28C ^ size) & mask
    k: i64 = 0
    at: i64 = 0
    while at < whole:
        k = data[at] | data[at + 1] << 8 | data[at + 2] << 16 | data[at + 3] << 24
        k = k * m & mask
        h = (h * m & mask) ^ ((k ^ (k >> 24)) * m & mask)
        at += 4
    rest: i64 = size - whole
    if rest:
        k = int.from_bytes(data[whole:], "little")
        h = (h ^ k) * m & mask
    h ^= h >> 13
    h = h * m & mask
    h ^= h >> 15
    return h


#: Events of the n-th later `consent-events` are known in states by their offset with n above this bit: no offset ever
#: reaches it.
OWN_LIFE_AT: Final = 48
#: Where in a stray's name its life and its partition begin; an offset below 2**40 is 10**12 events in one partition.
_LIFE_AT: Final = 40
_PARTITION_AT: Final = 48
_STRAY: Final = 1 << 62
_LATEST_LIFE: Final = (1 << _PARTITION_AT - _LIFE_AT) - 1
_PARTITIONS: Final = 1 << 62 - _PARTITION_AT


def stray_offset(partition: int, offset: int, life: int = 0) -> int:
    """The offset by which the state of a prospect knows an event that stood in another partition: beyond all offsets of
    the prospect's own partition, also those of later topics of the name (`gate.integrity.commit_note`).

    `life`: how many topics of the name stood before the event's own, as its partition counts them. From the 255th on
    they share a name. Raises ValueError for a place that no event has: its name would be that of another, or too large
    for a state.
    """
    if not (0 <= partition < _PARTITIONS and 0 <= offset < 1 << _LIFE_AT and life >= 0):
        raise ValueError("no event stands there")
    return _STRAY | partition << _PARTITION_AT | min(life, _LATEST_LIFE) << _LIFE_AT | offset


def beside_stray(name: int, offset: int) -> int:
    """The `stray_offset` of another event of the same topic and partition as the event that is known by `name`."""
    return name >> _LIFE_AT << _LIFE_AT | offset


def is_stray_name(name: int) -> bool:
    """Whether an event is known by a `stray_offset`."""
    return bool(name & _STRAY)


def place_known_as(name: int, partition: int) -> tuple[int, int]:
    """Partition and offset of an event that a state in `partition` knows by `name`, whichever topic it stood in."""
    if name & _STRAY:
        return (name ^ _STRAY) >> _PARTITION_AT, name & (1 << _LIFE_AT) - 1
    return partition, name & (1 << OWN_LIFE_AT) - 1


def known_at(name: int, partition: int, other: int) -> int:
    """By which name a state in partition `other` knows the event that a state in `partition` knows by `name`."""
    if name & _STRAY:
        stood = (name ^ _STRAY) >> _PARTITION_AT
        if stood != other:
            return name
        return (name >> _LIFE_AT & _LATEST_LIFE) << OWN_LIFE_AT | name & (1 << _LIFE_AT) - 1
    if partition == other:
        return name
    return stray_offset(partition, name & (1 << OWN_LIFE_AT) - 1, name >> OWN_LIFE_AT)


class Placement:
    """Where the records of each key stand; without `partitions`, every key is at home everywhere."""

    def __init__(self, partitioner: str, partitions: int | None) -> None:
        self._crc32 = partitioner == CRC32
        self._partitions = 0 if partitions is None else partitions

    def home(self, key: bytes | None) -> int | None:
        """The partition of a key; None when producers may put it anywhere."""
        count = self._partitions
        if key is None or not count:
            return None
        if self._crc32:
            return crc32(key) % count if key else None
        return (murmur2(key) & 0x7FFFFFFF) % count

    def misplaced(self, key: bytes | None, partition: int) -> bool:
        """Whether a record of this key can't have been put into `partition` by the partitioner."""
        home = self.home(key)
        return home is not None and home != partition


ANYWHERE: Final = Placement(MURMUR2, None)


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
