"""Which topic of its name an input record comes from, for the names that are made of its coordinates.

The first topic of a name needs no mark, so that its names are those of the contract. Of a later one, made anew under
the same name, offsets begin again: a mark keeps its records apart from those that stood there before.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from transfer_gate.gate.history import CommitNote
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.records.partitioner import OWN_LIFE_AT


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
