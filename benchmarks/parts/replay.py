"""Quarantined records replayed by the commands of an operator: how fast, and in how much memory."""

from typing import Any

from benchmarks.bench import Bench, Outputs, parsed, watch
from benchmarks.events import Shape, shaped
from benchmarks.parts.size import Size
from benchmarks.rivals import Rival

MOST_SECONDS = 120.0


async def measure(bench: Bench, size: Size, _rivals: tuple[Rival, ...]) -> list[dict[str, Any]]:
    """One row for each run: transfers without consent are held, consent comes, all of them are planned and run."""
    rows: list[dict[str, Any]] = []
    count = size.replay_records
    for run in range(size.first, size.first + size.runs):
        prefix = f"replay-{run}."
        events = shaped(bench.folder / prefix, Shape(prospects=count, transfers=count))
        settings = bench.settings(f"replay-{run}", events, prefix, replay_approval_records=count)
        await bench.topics_of(settings)
        with bench.worker(settings) as worker:
            async with Outputs(bench, [settings.topics.quarantine]) as held:
                await bench.load(settings.topics.transfers, events.transfers)
                await watch(held, [worker], count, most_seconds=MOST_SECONDS)
            async with Outputs(bench, [settings.topics.changelog]) as folded:
                await bench.load(settings.topics.consents, events.consents)
                await watch(folded, [worker], count, most_seconds=MOST_SECONDS)
            planned = await bench.command(settings, "replay", "plan", "--output", "json")
            ran = await bench.command(settings, "replay", "run", parsed(planned.output)["plan_id"], "--output", "json")
        await bench.delete(prefix)
        report = parsed(ran.output)
        if report["outcomes"] != {"released": count}:
            raise RuntimeError(f"not everything was released: {report['outcomes']}")
        row = {
            "run": run,
            "records": count,
            "replayed_per_second": count / report["seconds"],
            "plan_seconds": planned.seconds,
            "plan_peak_mib": planned.peak_mib,
            "run_peak_mib": ran.peak_mib,
        }
        rows.append(row)
        size.tell(
            f"{count:,} records replayed at {row['replayed_per_second']:,.0f}/s, planned in {planned.seconds:.1f} s"
        )
    return rows
