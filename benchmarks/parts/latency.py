"""End to end at a steady rate, and from a withdrawal to its enforcement: p50 and p99, every rival in turn."""

from typing import Any

from benchmarks.bench import PARTITIONS, Bench, parsed, started
from benchmarks.events import Events, Shape, sampled, shaped
from benchmarks.figures import quantile
from benchmarks.parts.ready import until_ready
from benchmarks.parts.size import Size
from benchmarks.rivals import GATE, Entry, Rival, enter


async def measure(bench: Bench, size: Size, rivals: tuple[Rival, ...]) -> list[dict[str, Any]]:
    """One row for each rival, rate and run."""
    rows: list[dict[str, Any]] = []
    await _warm_up(bench)
    for rate in size.rates:
        events = sampled(bench.folder / f"latency-{rate}", 5_000, rate * size.rate_seconds)
        for run, rival in size.turns(rivals):
            row = await _at_rate(bench, rival, events, rate, f"{rate}-{run}")
            rows.append({"rival": rival.name, "run": run, "rate": rate, **row})
            size.tell(f"{rival.title} at {rate}/s: p50 {row['p50_ms']:.1f} ms, p99 {row['p99_ms']:.1f} ms")
    return rows


async def withdrawals(bench: Bench, size: Size, rivals: tuple[Rival, ...]) -> list[dict[str, Any]]:
    """One row for each rival and run: withdrawal → enforced, and transfers released behind a withdrawal."""
    rows: list[dict[str, Any]] = []
    events = shaped(bench.folder / "withdrawals", Shape(prospects=5_000, transfers=20_000))
    await _warm_up(bench)
    for run, rival in size.turns(rivals):
        prefix = f"withdrawals-{rival.name}-{run}."
        entry = await _running(bench, rival, events, prefix, str(run))
        with started(entry.processes):
            raw = await bench.client(
                    "withdrawals", bench.bootstrap_servers, f"{prefix}prospect-transfers", f"{prefix}consent-events",
                    str(PARTITIONS), str(events.transfers), "200", str(size.probes), entry.quarantine,
                    *(topic for topic in entry.outputs if topic != entry.quarantine),
                )  # fmt: skip
        await bench.delete(prefix)
        answer = parsed(raw)
        row = _quantiles(answer["seconds"])
        leaked = answer["released_after_withdrawal"]
        rows.append(
            {"rival": rival.name, "run": run, "probes": size.probes, "released_after_withdrawal": leaked, **row}
        )
        size.tell(f"{rival.title}: p50 {row['p50_ms']:.1f} ms, p99 {row['p99_ms']:.1f} ms, released {leaked}")
    return rows


async def _warm_up(bench: Bench) -> None:
    """Keep the broker busy for a while, unless another part has done so."""
    if not bench.warm:
        await _at_rate(bench, GATE, sampled(bench.folder / "warm-up", 5_000, 15_000), 1_000, "warm-up")
        bench.warm = True


async def _at_rate(bench: Bench, rival: Rival, events: Events, rate: int, turn: str) -> dict[str, Any]:
    prefix = f"latency-{rival.name}-{turn}."
    entry = await _running(bench, rival, events, prefix, turn)
    with started(entry.processes):
        before = sum(process.cpu_seconds() for process in entry.processes)
        raw = await bench.client(
            "latency", bench.bootstrap_servers, f"{prefix}prospect-transfers", str(PARTITIONS), str(events.transfers),
            str(rate), *entry.outputs,
        )  # fmt: skip
        cpu = sum(process.cpu_seconds() for process in entry.processes) - before
    await bench.delete(prefix)
    answer = parsed(raw)
    return {
        **_quantiles(answer["seconds"]),
        "complete": answer["complete"],
        "sent_per_second": answer["sent_per_second"],
        "cpu_share": cpu * answer["sent_per_second"] / events.transfer_count,
    }


async def _running(bench: Bench, rival: Rival, events: Events, prefix: str, turn: str) -> Entry:
    """The rival at work on topics of its own that hold the consents, and no transfer yet but those of a warm-up."""
    settings = bench.settings("prepare", events, prefix)
    await bench.topics_of(settings)
    await bench.load(settings.topics.consents, events.consents)
    entry = await enter(bench, rival, events, prefix, turn)
    try:
        await until_ready(bench, entry, settings.topics.transfers)
    except BaseException:
        for process in entry.processes:
            process.stop()
        raise
    return entry


def _quantiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{round(share * 100)}_ms": quantile(seconds, share) * 1000 for share in (0.5, 0.9, 0.99)}
