"""What every commit notes beside the offsets of the inputs, and which topic of its name each of them is.

A consumer that finds its place deleted, or a table that finds its changelog empty, would go on as if nothing had ever
been there. So every commit notes up to where changelog and replay ledger reach, and every new owner compares. An offset
of `consent-events` that is reset to the earliest loses its note: then the history is folded anew, and with that begins
another *life* of the logs, so that a table on disk that stems from the one before is not believed.

The first topic of a name needs no mark, so that names made of its coordinates are those of the contract. Of a later
topic, made anew under the same name, offsets begin again: a mark keeps its records apart from those of the first.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.kafka.transaction import Committed
from transfer_gate.records.partitioner import OWN_LIFE_AT
from transfer_gate.records.placements import Placed, read_placed, written_of


class Reach(NamedTuple):
    """Up to which offset a log must reach, and of which life a table that follows it must be."""

    end: int
    life: str


class Life(NamedTuple):
    """Which topic of its name a log is: its id (KIP-516), and how many stood under the name before it, as far as the
    gate has seen; the leader epoch of the last batch that was taken of it (KIP-320), -1 where that is not known; and
    up to where the records of this partition were placed under fewer partitions (`topics grow`).
    """

    topic_id: str
    number: int = 0
    epoch: int = -1
    placed: tuple[Placed, ...] = ()

    def __str__(self) -> str:
        return f"{self.topic_id}:{self.number}:{self.epoch}{written_of(self.placed)}"


def life_of(known: Life | None, topic_id: str) -> Life:
    """The life of the topic that is there now, after the one that is known of its name."""
    if known is None:
        return Life(topic_id)
    return known if known.topic_id == topic_id else Life(topic_id, known.number + 1)


class CommitNote(Struct, frozen=True):
    """What a commit notes beside the offset of every input topic, because brokers forget those of a topic that is
    deleted: the life of the consent table, up to where the consent changelog and the replay ledger reached, under which
    partition count, on which topics, by which registry (`published_at/revision`), and in which format of states.
    """

    life: str
    changelog_end: int = 0
    ledger_end: int = 0
    partitions: int = 0
    topics: Mapping[str, Life] = {}
    registry: str = ""
    state_format: int = 0

    def __str__(self) -> str:
        said = f"life={self.life} changelog={self.changelog_end} ledger={self.ledger_end}"
        if self.partitions:
            said += f" partitions={self.partitions}"
        if self.topics:
            lives = ",".join(f"{topic}:{life}" for topic, life in self.topics.items())
            said += f" topics={lives}"
        if self.registry:
            said += f" registry={self.registry}"
        return f"{said} format={self.state_format}" if self.state_format else said

    @property
    def changelog(self) -> Reach:
        """What holds for the consent changelog."""
        return Reach(self.changelog_end, self.life)

    @property
    def ledger(self) -> Reach:
        """What holds for the replay ledger."""
        return Reach(self.ledger_end, self.life)


def noted(consents: Committed | None) -> CommitNote:
    """Read the note beside a committed offset. Where there is none, as at a first start, another life begins."""
    return read_note(consents) or CommitNote(secrets.token_hex(8))


def note_of(committed: Mapping[str, Committed], consents: str, identities: Mapping[str, str]) -> CommitNote:
    """The note that holds for a partition, of those beside the committed offsets of its input topics.

    `identities`: topic to its id now. An offset of `consents` without a note was set by an operator: then the table is
    made anew, and so it is when that offset is gone although the topic is still the one that was noted. A topic that
    was made anew has lost its offset with its records; what was applied of it stays.
    """
    found = next((note for topic in (consents, *committed) if (note := read_note(committed.get(topic)))), None)
    if found is None:
        return noted(None)
    if read_note(committed.get(consents)) is not None:
        return found
    known = found.topics.get(consents)
    if consents not in committed and known is not None and known.topic_id != identities.get(consents):
        return found
    return replace(found, life=noted(None).life, changelog_end=0, ledger_end=0)


def read_note(committed: Committed | None) -> CommitNote | None:
    """The note beside a committed offset; None where there is none of the gate's."""
    parts = dict(part.partition("=")[::2] for part in (committed.note if committed else "").split())
    try:
        topics = [text.split(":") for text in parts.get("topics", "").split(",") if text]
        return CommitNote(
            parts["life"],
            int(parts["changelog"]),
            int(parts["ledger"]),
            int(parts.get("partitions", "0")),
            {topic: _read_life(parts) for topic, *parts in topics},
            parts.get("registry", ""),
            int(parts.get("format", "0")),
        )
    except (KeyError, ValueError):
        return None


def _read_life(parts: Sequence[str]) -> Life:
    """Raises ValueError."""
    topic_id, *numbers = parts
    number, epoch, *placed = (*numbers, *("0", "-1")[len(numbers) :])
    return Life(topic_id, int(number), int(epoch), read_placed(placed))


class Origins(Struct, frozen=True):
    """`topic_ids`: input topic to its id, for those that were made anew; `consents_base` is added to offsets of consent
    events wherever a state keeps them.
    """

    topic_ids: Mapping[str, str] = {}
    consents_base: int = 0

    @property
    def consents_life(self) -> int:
        """How many topics stood under the name of `consent-events` before this one."""
        return self.consents_base >> OWN_LIFE_AT

    @classmethod
    def of(cls, book: Rulebook, note: CommitNote) -> "Origins":
        """Origins by the lives that a commit notes."""
        later = {topic: life for topic, life in note.topics.items() if topic in book.inputs and life.number}
        consents = later.get(book.consents)
        return cls(
            {topic: life.topic_id for topic, life in later.items()},
            consents.number << OWN_LIFE_AT if consents is not None else 0,
        )


FIRST_TOPICS: Final = Origins()
