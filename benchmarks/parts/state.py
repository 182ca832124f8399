"""The consent table: how fast events are folded and committed, how fast it comes back, what an idle prospect takes."""

import asyncio
import re
import sys
import time
from typing import Any

import aiohttp

from benchmarks.bench import ROOT, Bench, Process, parsed
from benchmarks.events import Shape, shaped
from benchmarks.figures import Reading, pace
from benchmarks.parts.size import Size
from benchmarks.rivals import Rival
from transfer_gate.settings import Settings

STORES = ("memory://", "rocksdb://")


async def measure(bench: Bench, size: Size, _rivals: tuple[Rival, ...]) -> list[dict[str, Any]]:
    """One row for each number of prospects and run, with what belongs to it."""
    rows: list[dict[str, Any]] = []
    for prospects in size.restore_prospects:
        prefix = f"state-{prospects}."
        events = shaped(bench.folder / prefix, Shape(prospects=prospects, transfers=1))
        settings = bench.settings(f"state-{prospects}", events, prefix)
        await bench.topics_of(settings)
        await bench.load(settings.topics.consents, events.consents)
        folded = await _fold(bench, settings, prospects)
        size.tell(f"{prospects:,} consents: {folded['consents_per_second']:,.0f}/s folded and committed")
        for run in range(size.first, size.first + size.runs):
            row: dict[str, Any] = {"prospects": prospects, "run": run, **(folded if run == size.first else {})}
            for store in STORES:
                row |= await _restore(bench, settings, store)
                row |= await _restart(bench, settings, store, f"{run}")
            rows.append(row)
            size.tell(
                f"{prospects:,} prospects restored at {row['memory_per_second']:,.0f}/s (memory), "
                f"{row['rocksdb_per_second']:,.0f}/s (rocksdb); {row['memory_bytes_beyond_json']:.0f} B each beyond "
                f"JSON of {row['memory_json_bytes']:.0f} B; ready after {row['memory_ready_seconds']:.1f} s"
            )
        await bench.delete(prefix)
    return rows


async def _fold(bench: Bench, settings: Settings, count: int) -> dict[str, float]:
    url = f"http://127.0.0.1:{settings.metrics_port}/metrics"
    wanted = re.compile(rf'transfer_gate_events_total\{{topic="{re.escape(settings.topics.consents)}"\}} (\S+)')
    readings: list[Reading] = []
    with bench.worker(settings) as process:
        async with aiohttp.ClientSession() as session:
            while not readings or readings[-1].done < count:
                process.check()
                done = 0
                try:
                    async with session.get(url) as answer:
                        found = wanted.search(await answer.text())
                        done = int(float(found.group(1))) if found else 0
                except aiohttp.ClientError:
                    pass
                readings.append(Reading(time.monotonic(), done, process.cpu_seconds(), process.resident()))
                await asyncio.sleep(0.1)
    measured = pace(readings, 1.0)
    return {"consents_per_second": measured.per_second, "consents_per_cpu_second": measured.per_cpu_second}


async def _restore(bench: Bench, settings: Settings, store: str) -> dict[str, float]:
    """The restore alone, in a process of its own, so that its memory is nobody else's."""
    name = store.removesuffix("://")
    log = bench.folder / "restore" / f"{name}.log"
    command = [sys.executable, "-m", "benchmarks.parts.restore"]
    environment = {
        "BENCH_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "BENCH_CHANGELOG": settings.topics.changelog,
        "BENCH_STORE": store,
        "PYTHONPATH": str(ROOT),
    }
    with Process(command, environment, log) as process:
        await asyncio.to_thread(process.wait, 300)
    return {f"{name}_{key}": value for key, value in parsed(log.read_bytes().splitlines()[-1]).items()}


async def _restart(bench: Bench, settings: Settings, store: str, run: str) -> dict[str, float]:
    """From the start of a worker with an empty disk to the moment when every partition decides."""
    name = store.removesuffix("://")
    again = settings.model_copy(
        update={"store": store, "data_dir": bench.folder / f"restart-{settings.app_id}-{name}-{run}"}
    )
    url = f"http://127.0.0.1:{settings.metrics_port}/readyz"
    began = time.monotonic()
    with bench.worker(again) as process:
        async with aiohttp.ClientSession() as session:
            while True:
                process.check()
                try:
                    async with session.get(url) as answer:
                        if answer.status == 200:
                            return {f"{name}_ready_seconds": time.monotonic() - began}
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)
