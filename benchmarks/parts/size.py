"""How much is measured: the full run, the quick one, and what a test of the harness takes."""

import sys
from typing import Final

from msgspec import Struct


class Size(Struct, frozen=True):
    """Knobs of all parts; seconds and records."""

    runs: int = 3
    prospects: int = 20_000
    transfers: int = 200_000
    rates: tuple[int, ...] = (500, 2000)
    rate_seconds: int = 20
    probes: int = 200
    restore_prospects: tuple[int, ...] = (100_000, 1_000_000)
    growth_transfers: int = 60_000

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
    growth_transfers=20_000,
)
