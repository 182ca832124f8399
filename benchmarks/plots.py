"""Plots of the results as SVG, drawn by matplotlib in .venv-bench: python -m benchmarks.plots FOLDER."""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import orjson

mpl.use("svg")
# The same bytes for the same figures.
mpl.rcParams.update(
    {"svg.hashsalt": "transfer-gate", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
)

from matplotlib import pyplot as plt  # noqa: E402 - after the backend is chosen

OURS, THEIRS, LIMIT = "#0b6e4f", "#7a8b99", "#c9d1d9"
LABELS = {
    "gate": "transfer-gate\n(full decision)",
    "streams-eos": "Kafka Streams\nexactly_once_v2",
    "streams-alo": "Kafka Streams\nat_least_once",
    "quixstreams": "quixstreams",
    "plain-faust": "plain Faust",
    "confluent": "bare confluent\n(limit)",
    "aiokafka": "bare aiokafka\n(limit)",
}


def main(folder: Path) -> None:
    drawn = {"throughput": throughput, "latency": latency, "growth": growth}
    for part, draw in drawn.items():
        path = folder / f"{part}.json"
        if path.is_file():
            figure = draw(orjson.loads(path.read_bytes())["rows"])
            figure.savefig(folder / f"{part}.svg", bbox_inches="tight", metadata={"Date": None})
            plt.close(figure)


def throughput(rows: Sequence[Mapping[str, Any]]) -> Any:
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True)
    for axis, key, title in zip(
        axes, ("per_second", "per_cpu_second"), ("events/s", "events per CPU second of the worker"), strict=True
    ):
        _bars(axis, rows, key)
        axis.set_title(title)
    return figure


def latency(rows: Sequence[Mapping[str, Any]]) -> Any:
    rates = sorted({row["rate"] for row in rows})
    figure, axes = plt.subplots(1, len(rates), figsize=(10, 3.4), sharey=True, squeeze=False)
    for axis, rate in zip(axes[0], rates, strict=True):
        of_rate = [row for row in rows if row["rate"] == rate]
        _bars(axis, of_rate, "p99_ms", alpha=0.45)
        _bars(axis, of_rate, "p50_ms")
        axis.set_xscale("log")
        axis.set_title(f"end to end at {rate:,}/s, ms: p50, p99 (pale)")
    return figure


def growth(rows: Sequence[Mapping[str, Any]]) -> Any:
    dimensions = list(dict.fromkeys(row["dimension"] for row in rows))
    figure, axes = plt.subplots(1, len(dimensions), figsize=(12, 2.8), squeeze=False)
    for axis, dimension in zip(axes[0], dimensions, strict=True):
        costs = defaultdict(list)
        for row in rows:
            if row["dimension"] == dimension:
                costs[row["value"]].append(1e6 / row["per_cpu_second"])
        values = sorted(costs)
        axis.plot(values, [median(costs[value]) for value in values], "o-", color=OURS)
        axis.set_ylim(bottom=0)
        axis.set_xlabel(dimension.replace("_", " "))
    axes[0][0].set_ylabel("CPU µs an event")
    figure.tight_layout()
    return figure


def _bars(axis: Any, rows: Sequence[Mapping[str, Any]], key: str, alpha: float = 1.0) -> None:
    values = defaultdict(list)
    for row in rows:
        values[row["rival"]].append(row[key])
    names = [name for name in reversed(LABELS) if name in values]
    middles = [median(values[name]) for name in names]
    errors = [
        [middle - min(values[name]) for name, middle in zip(names, middles, strict=True)],
        [max(values[name]) - middle for name, middle in zip(names, middles, strict=True)],
    ]
    colours = [OURS if name == "gate" else LIMIT if "limit" in LABELS[name] else THEIRS for name in names]
    axis.barh(
        [LABELS[name] for name in names], middles, xerr=errors, color=colours, alpha=alpha, ecolor="#444", capsize=2
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
