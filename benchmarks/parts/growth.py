"""What an event costs as the work grows, one dimension at a time."""

from typing import Any, Final

from msgspec.structs import asdict

from benchmarks.bench import Bench
from benchmarks.events import Shape, shaped
from benchmarks.parts.size import Size
from benchmarks.parts.throughput import one, prepare
from benchmarks.rivals import GATE, Rival

#: Dimension to its values; the others stay as in `Shape`. Prospects beyond 100,000 are measured by `state`.
STEPS: Final[dict[str, tuple[int, ...]]] = {
    "prospects": (10_000, 100_000),
    "partners": (1, 5, 50),
    "consents": (1, 10, 50),
    "payload_bytes": (0, 3_000, 10_000),
}


async def measure(bench: Bench, size: Size, _rivals: tuple[Rival, ...]) -> list[dict[str, Any]]:
    """One row for each dimension, value and run."""
    rows: list[dict[str, Any]] = []
    for run in range(size.first, size.first + size.runs):
        for dimension, values in STEPS.items():
            for value in values:
                row = await _step(bench, size, dimension, value, run)
                rows.append({"dimension": dimension, "value": value, "run": run, **row})
                size.tell(f"{dimension} {value}: {row['per_second']:,.0f}/s, {row['per_cpu_second']:,.0f}/CPU s")
    return rows


async def _step(bench: Bench, size: Size, dimension: str, value: int, run: int) -> dict[str, Any]:
    # Fifty partners are fifty decisions: a fifth of the events takes long enough.
    transfers = size.growth_transfers // (5 if dimension == "partners" and value > 5 else 1)
    shape = Shape(**{"transfers": transfers, "prospects": 2_000, dimension: value})
    prefix = f"growth-{dimension}-{value}-{run}."
    events = shaped(bench.folder / prefix, shape)
    await prepare(bench, events, prefix)
    # A round is counted in transfers: with fifty partners 2,000 of them would be one round of 100,000 decisions.
    few = {"max_round_records": 100} if dimension == "partners" and value > 5 else {}
    measured = await one(bench, GATE, events, prefix, f"{dimension}-{value}-{run}", **few)
    await bench.delete(prefix)
    return {
        "transfer_bytes": events.transfer_bytes,
        **asdict(measured),
    }
