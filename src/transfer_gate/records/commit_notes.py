"""What every commit notes beside the offsets of the inputs, in the metadata that Kafka keeps with an offset.

Brokers forget the offsets of a topic that is deleted, so the same note stands beside the offset of every input, and
beside one of the replay ledger. It is text, which an operator reads with `kafka-consumer-groups`; `gate.integrity`
compares it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct


class Placed(NamedTuple):
    """Records of a partition below the offset `below` were placed while its topic had `partitions` partitions."""

    partitions: int
    below: int


class Reach(NamedTuple):
    """Up to which offset a log must reach, and of which life a table that follows it must be."""

    end: int
    life: str


class LogIdentity(NamedTuple):
    """Which topic of its name a log is: its id (KIP-516), and how many stood under the name before it, as far as the
    gate has seen; the leader epoch of the last batch that was taken of it (KIP-320), -1 where that is not known; and
    up to where the records of this partition were placed under fewer partitions (`topics grow`).
    """

    topic_id: str
    number: int = 0
    epoch: int = -1
    placed: tuple[Placed, ...] = ()

    def __str__(self) -> str:
        # `:2@1034:3@5210` at the end; nothing where the topic never grew
        placed = "".join(f":{count}@{below}" for count, below in self.placed)
        return f"{self.topic_id}:{self.number}:{self.epoch}{placed}"


def identity_after(known: LogIdentity | None, topic_id: str) -> LogIdentity:
    """The life of the topic that is there now, after the last one noted under its name."""
    if known is None:
        return LogIdentity(topic_id)
    return known if known.topic_id == topic_id else LogIdentity(topic_id, known.number + 1)


class CommitNote(Struct, frozen=True):
    """What a commit notes beside the offset of every input topic, because brokers forget those of a topic that is
    deleted: the life of the consent table, up to where the consent changelog and the replay ledger reached, under which
    partition count, on which topics, by which registry (`published_at/revision`), in which format of states, and which
    `offsets` of the inputs were committed: an offset that an operator sets later loses its note, the others keep it.
    """

    life: str
    changelog_end: int = 0
    ledger_end: int = 0
    partitions: int = 0
    topics: Mapping[str, LogIdentity] = {}
    registry: str = ""
    state_format: int = 0
    offsets: Mapping[str, int] = {}

    def __str__(self) -> str:
        text = f"life={self.life} changelog={self.changelog_end} ledger={self.ledger_end}"
        if self.partitions:
            text += f" partitions={self.partitions}"
        if self.topics:
            lives = ",".join(f"{topic}:{life}" for topic, life in self.topics.items())
            text += f" topics={lives}"
        if self.registry:
            text += f" registry={self.registry}"
        if self.state_format:
            text += f" format={self.state_format}"
        if self.offsets:
            text += " offsets=" + ",".join(f"{topic}:{offset}" for topic, offset in self.offsets.items())
        return text

    @property
    def changelog(self) -> Reach:
        """What the consent changelog must still have."""
        return Reach(self.changelog_end, self.life)

    @property
    def ledger(self) -> Reach:
        """What the replay ledger must still have."""
        return Reach(self.ledger_end, self.life)


def decode_note(text: str) -> CommitNote | None:
    """Read what `str` of a note wrote, or an earlier version; None for any other text."""
    parts = dict(part.partition("=")[::2] for part in text.split())
    try:
        topics = [life.split(":") for life in parts.get("topics", "").split(",") if life]
        offsets = [offset.split(":") for offset in parts.get("offsets", "").split(",") if offset]
        return CommitNote(
            parts["life"],
            int(parts["changelog"]),
            int(parts["ledger"]),
            int(parts.get("partitions", "0")),
            {topic: _read_identity(life) for topic, *life in topics},
            parts.get("registry", ""),
            int(parts.get("format", "0")),
            {topic: int(offset) for topic, offset in offsets},
        )
    except (KeyError, ValueError, TypeError):
        return None


def _read_placed(parts: Sequence[str]) -> tuple[Placed, ...]:
    """Raises ValueError, TypeError."""
    return tuple(Placed(*map(int, part.split("@"))) for part in parts)


def _read_identity(parts: Sequence[str]) -> LogIdentity:
    """Raises ValueError, TypeError."""
    topic_id, *numbers = parts
    number, epoch, *placed = (*numbers, *("0", "-1")[len(numbers) :])
    return LogIdentity(topic_id, int(number), int(epoch), _read_placed(placed))
