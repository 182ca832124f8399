"""How much is measured: the full run, the quick one, and what a test of the harness takes."""

import sys
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from msgspec import Struct

Rival = TypeVar("Rival")


class Size(Struct, frozen=True):
    """Knobs of all parts; seconds and records."""

    runs: int = 3
    #: Number of the first run; beyond 0 when runs are added to earlier ones.
    first: int = 0
    prospects: int = 20_000
    transfers: int = 200_000
    rates: tuple[int, ...] = (500, 2000)
    rate_seconds: int = 20
    probes: int = 200
    restore_prospects: tuple[int, ...] = (100_000, 1_000_000)
    growth_transfers: int = 100_000
    replay_records: int = 100_000

    def turns(self, rivals: Sequence[Rival]) -> Iterator[tuple[int, Rival]]:
        """Run by run, every rival in turn; back and forth, so that nobody always follows the same one."""
        for run in range(self.first, self.first + self.runs):
            for rival in rivals if run % 2 == 0 else reversed(rivals):
                yield run, rival

    @staticmethod
    def tell(line: str) -> None:
        """Progress, for the person who waits."""
        print(f"  {line}", file=sys.stderr, flush=True)


FULL: Final = Size()
QUICK: Final = Size(
    runs=2,
    transfers=60_000,
    rates=(500,),
    rate_seconds=8,
    probes=50,
    restore_prospects=(100_000,),
    growth_transfers=30_000,
    replay_records=20_000,
)
