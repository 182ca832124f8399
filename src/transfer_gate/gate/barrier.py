"""What stands in front of the read barrier of a partition, and when it may be decided."""

import datetime as dt
from collections.abc import Sequence

from msgspec import Struct

from transfer_gate.gate.inbox import Record
from transfer_gate.gate.originals import NOTHING_FOUND, Found

Taken = tuple[Sequence[Record], int]
"""Records of an inbox, and the offset after them."""


class Waiting(Struct, frozen=True):
    """Transfers and replays in front of the barrier: they are decided once consent is applied up to `need`.

    `at` was read before `need` was asked for: every consent event acknowledged before `at` lies below `need`.
    """

    transfers: Taken | None
    replays: Taken | None
    at: dt.datetime
    since: float
    need: int
    #: The same of the strays.
    need_strays: int
    #: Of replays by reference, what they refer to.
    originals: Found = NOTHING_FOUND

    @property
    def count(self) -> int:
        """How many records wait."""
        return sum(len(taken[0]) for taken in (self.transfers, self.replays) if taken)

    def covered(self, position: int | None, brought: int | None) -> bool:
        """Whether consent events up to `position`, and strays up to `brought`, are enough."""
        return position is not None and position >= self.need and brought is not None and brought >= self.need_strays
