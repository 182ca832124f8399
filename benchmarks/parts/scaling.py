"""One worker, two, four, on the same backlog: what more processes bring on this machine."""

from typing import Any

from msgspec.structs import asdict

from benchmarks.bench import Bench
from benchmarks.events import sampled
from benchmarks.parts.size import Size
from benchmarks.parts.throughput import one, prepare
from benchmarks.rivals import GATE, Rival

WORKERS = (1, 2, 4)


async def measure(bench: Bench, size: Size, _rivals: tuple[Rival, ...]) -> list[dict[str, Any]]:
    """One row for each number of workers and run."""
    events = sampled(bench.folder / "scaling", size.prospects, size.transfers)
    await prepare(bench, events, "scaling.")
    rows: list[dict[str, Any]] = []
    for run, workers in size.turns(WORKERS):
        measured = await one(bench, GATE, events, "scaling.", f"{workers}-{run}", workers)
        rows.append(
            {
                "workers": workers,
                "run": run,
                **asdict(measured),
            }
        )
        size.tell(f"{workers} workers: {measured.per_second:,.0f}/s, {measured.per_cpu_second:,.0f}/CPU s")
    return rows
