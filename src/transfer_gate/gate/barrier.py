"""The read barrier of a partition: what waits in front of it, and when it may be decided."""

import datetime as dt
from typing import NamedTuple

from msgspec import Struct

from transfer_gate.gate.inbox import Fetched, RoundRecords
from transfer_gate.gate.originals import NOTHING_FOUND, Found


class ConsentEnds(NamedTuple):
    """Up to where consent events, and strays of them, are applied or have to be: the next offsets. None where that is
    not known yet.
    """

    consents: int | None = None
    strays: int | None = None

    def after(self, taken: RoundRecords) -> "ConsentEnds":
        """Once the events of a round are applied."""
        return ConsentEnds(
            self.consents if taken.consents is None else taken.consents.end,
            self.strays if taken.strays is None else taken.strays.end,
        )

    def cover(self, need: "ConsentEnds") -> bool:
        """Whether these are at or behind `need`."""
        pairs = zip(self, need, strict=True)
        return all(have is not None and wanted is not None and have >= wanted for have, wanted in pairs)


class Waiting(Struct, frozen=True):
    """Transfers and replays in front of the barrier: they are decided once consent is applied up to `need`.

    `at` was read before `need` was requested: every consent event acknowledged before `at` lies below `need`.
    """

    transfers: Fetched | None
    replays: Fetched | None
    at: dt.datetime
    since: float
    need: ConsentEnds
    #: Of replays by reference, what they refer to.
    originals: Found = NOTHING_FOUND

    @property
    def count(self) -> int:
        """How many records wait."""
        return sum(len(taken.records) for taken in (self.transfers, self.replays) if taken)
