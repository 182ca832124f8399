"""Run the benchmarks: python -m benchmarks [PART...] [--quick] [--runs N] [--rivals a,b]

Each part writes `<part>.json` into the results folder; at the end report and plots are drawn from all that is there.
"""

import argparse
import asyncio
import datetime as dt
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from msgspec.structs import replace

from benchmarks import report
from benchmarks.bench import BENCH_PYTHON, Bench
from benchmarks.machine import machine, versions
from benchmarks.parts.size import FULL, QUICK, Size
from benchmarks.rivals import BY_NAME, Rival
from transfer_gate.local.kafka import LocalKafka

#: Part to (module of `benchmarks.parts`, function). A new one is a module and a line here, and a table in `report`.
PARTS: Final = {
    "throughput": ("throughput", "measure"),
    "latency": ("latency", "measure"),
    "withdrawals": ("latency", "withdrawals"),
    "scaling": ("scaling", "measure"),
    "growth": ("growth", "measure"),
    "state": ("state", "measure"),
    "replay": ("replay", "measure"),
}
RESULTS: Final = Path(__file__).with_name("results")


async def run(bench: Bench, part: str, size: Size, rivals: tuple[Rival, ...]) -> dict[str, Any]:
    """Measure one part."""
    module, function = PARTS[part]
    began, on = dt.datetime.now(dt.UTC), machine()
    rows = await getattr(importlib.import_module(f"benchmarks.parts.{module}"), function)(bench, size, rivals)
    return {
        "part": part,
        "measured_at": began.isoformat(timespec="seconds"),
        "machine": on,
        "versions": versions(),
        "rows": rows,
    }


def following(earlier: Mapping[str, Any] | None) -> int:
    """Number of the next run: runs that are added keep apart from those that are there."""
    return 1 + max((row["run"] for row in earlier["rows"]), default=-1) if earlier else 0


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes, two runs")
    parser.add_argument("--runs", type=int, help="interleaved repetitions")
    parser.add_argument("--rivals", help=f"comma separated, of {', '.join(BY_NAME)}; default: all")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    parser.add_argument("--append", action="store_true", help="add these runs to those of the same part")
    parser.add_argument("--transfers", type=int, help="transfers in the backlog")
    parser.add_argument("--rates", type=int, nargs="+", help="transfers a second, of latency")
    parser.add_argument("--prospects", type=int, nargs="+", help="prospects, of state")
    options = parser.parse_args()
    parts = options.parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    names = options.rivals.split(",") if options.rivals else list(BY_NAME)
    if unknown := set(names) - set(BY_NAME):
        parser.error(f"unknown rival: {', '.join(sorted(unknown))}")
    rivals = tuple(BY_NAME[name] for name in names)
    size = QUICK if options.quick else FULL
    size = replace(
        size,
        runs=options.runs or size.runs,
        transfers=options.transfers or size.transfers,
        rates=tuple(options.rates or size.rates),
        restore_prospects=tuple(options.prospects or size.restore_prospects),
    )
    options.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="transfer-gate-bench-") as name:
        folder = Path(name)
        with LocalKafka(folder / "kafka") as kafka:
            bench = Bench(kafka, folder)
            for part in parts:
                print(f"== {part}", file=sys.stderr, flush=True)
                path = options.results / f"{part}.json"
                earlier = orjson.loads(path.read_bytes()) if options.append and path.is_file() else None
                result = asyncio.run(run(bench, part, replace(size, first=following(earlier)), rivals))
                if earlier:
                    result["rows"] = [*earlier["rows"], *result["rows"]]
                path.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    report.write(options.results)
    subprocess.run([str(BENCH_PYTHON), "-m", "benchmarks.plots", str(options.results)], check=True)


if __name__ == "__main__":
    main()
