"""Before a release, in less than three minutes: the gate as a ratio to a plain Faust agent and to a bare loop.

Exit code 1 when a ratio is below its floor. Ratios of one interleaved run hold on any machine; figures do not.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.bench import Bench
from benchmarks.figures import ratios
from benchmarks.parts import throughput
from benchmarks.parts.size import QUICK
from benchmarks.rivals import AIOKAFKA, GATE, PLAIN_FAUST
from transfer_gate.local.kafka import LocalKafka

#: Rival to what the gate must at least reach of its events per CPU second. Well below what was measured, because
#: machines differ; a change that costs half the speed falls through.
FLOORS: Final = {PLAIN_FAUST: 6.0, AIOKAFKA: 0.22}


async def run(bench: Bench) -> int:
    """Measure and compare."""
    rows = await throughput.measure(bench, QUICK, (GATE, *FLOORS))
    of = {rival: [row["per_cpu_second"] for row in rows if row["rival"] == rival.name] for rival in (GATE, *FLOORS)}
    failed = 0
    for rival, floor in FLOORS.items():
        ratio = ratios(of[GATE], of[rival])
        verdict = "ok" if ratio.median >= floor else "TOO SLOW"
        failed += ratio.median < floor
        print(
            f"gate to {rival.title}, events per CPU second: {ratio.median:.2f} "
            f"({ratio.least:.2f} to {ratio.most:.2f}), at least {floor:g}: {verdict}"
        )
    return 1 if failed else 0


def main() -> int:
    """Command line."""
    with tempfile.TemporaryDirectory(prefix="transfer-gate-bench-") as name:
        folder = Path(name)
        with LocalKafka(folder / "kafka") as kafka:
            return asyncio.run(run(Bench(kafka, folder)))


if __name__ == "__main__":
    sys.exit(main())
