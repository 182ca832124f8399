"""Events per second and per CPU second of the worker, peak memory: every rival over the same backlog, in turn."""

from typing import Any

from msgspec.structs import asdict

from benchmarks.bench import Bench, Outputs, started, watch
from benchmarks.events import Events, sampled
from benchmarks.figures import Pace, pace
from benchmarks.parts.size import Size
from benchmarks.rivals import GATE, Rival, enter

#: The first tenth of the outputs is left out: connections, and for Java its compiler.
WARM_UP: float = 0.1
#: Long enough for a rate; the plain agent would take minutes for what the others do in seconds.
MOST_SECONDS = 15.0


async def measure(bench: Bench, size: Size, rivals: tuple[Rival, ...]) -> list[dict[str, Any]]:
    """One row for each rival and run."""
    prefix = "throughput."
    events = sampled(bench.folder / "throughput", size.prospects, size.transfers)
    await prepare(bench, events, prefix)
    rows: list[dict[str, Any]] = []
    if not bench.warm:
        await one(bench, GATE, events, prefix, "warm-up")
    for run, rival in size.turns(rivals):
        measured = await one(bench, rival, events, prefix, str(run))
        rows.append({"rival": rival.name, "run": run, **asdict(measured)})
        size.tell(f"{rival.title}: {measured.per_second:,.0f}/s, {measured.per_cpu_second:,.0f}/CPU s")
    return rows


async def prepare(bench: Bench, events: Events, prefix: str) -> None:
    """Topics and backlog."""
    settings = bench.settings("prepare", events, prefix)
    await bench.topics_of(settings)
    await bench.load(settings.topics.consents, events.consents)
    await bench.load(settings.topics.transfers, events.transfers)


async def one(
    bench: Bench, rival: Rival, events: Events, prefix: str, turn: str, workers: int = 1, **more: Any
) -> Pace:
    """One pass of a fresh worker, or several, over the backlog."""
    entry = await enter(bench, rival, events, prefix, turn, workers, **more)
    with started(entry.processes):
        async with Outputs(bench, entry.counted) as outputs:
            readings = await watch(outputs, entry.processes, entry.expected, most_seconds=MOST_SECONDS)
    bench.warm = True
    # A record of the gate's evidence is a part of an event when transfers go to several partners.
    return pace(readings, events.transfer_count / entry.expected, WARM_UP)
