"""What every commit notes beside the offsets of the inputs, and which topic of its name each of them is.

A consumer that finds its place deleted, or a table that finds its changelog empty, would go on as if nothing had ever
been there. So every commit notes up to where changelog and replay ledger reach, and every new owner compares. An offset
of `consent-events` that is reset to the earliest loses its note: then the history is folded anew, and with that begins
another *life* of the logs, so that a table on disk that stems from the one before is not believed.

The first topic of a name needs no mark, so that names made of its coordinates are those of the contract. Of a later
topic, made anew under the same name, offsets begin again: a mark keeps its records apart from those of the first.
"""

import secrets
from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.kafka.coordinator import Committed
from transfer_gate.records.commit_notes import CommitNote, decode_note
from transfer_gate.records.partitioner import OWN_LIFE_AT


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
    return None if committed is None else decode_note(committed.note)


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
