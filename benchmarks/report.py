"""Results as Markdown: one table for each part that was measured."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from benchmarks.figures import Spread, ratios, spread

Row = Mapping[str, Any]

#: Names as a reader sees them; order of the tables.
TITLES: Final = {
    "gate": "**transfer-gate**, full decision",
    "streams-eos": "Kafka Streams `exactly_once_v2`",
    "streams-alo": "Kafka Streams `at_least_once`",
    "quixstreams": "quixstreams",
    "plain-faust": "plain Faust agent",
    "confluent": "bare confluent-kafka loop, transactions (limit)",
    "aiokafka": "bare aiokafka loop (limit)",
}
PROMISES: Final = {
    "gate": "exactly once, read barrier, evidence",
    "streams-eos": "exactly once",
    "streams-alo": "at least once",
    "quixstreams": "at least once",
    "plain-faust": "at least once",
    "confluent": "exactly once; state not restored",
    "aiokafka": "at least once; state not restored",
}
DIMENSIONS: Final = {
    "prospects": "prospects",
    "partners": "partners of a transfer",
    "consents": "consent records of a prospect",
    "payload_bytes": "more bytes in a transfer",
}


def write(results: Path) -> None:
    """Write `report.md` from every part whose JSON is in the folder."""
    parts = {path.stem: orjson.loads(path.read_bytes()) for path in sorted(results.glob("*.json"))}
    (results / "report.md").write_text("\n".join(lines(parts)) + "\n", encoding="utf-8")


def lines(parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The page, from the results of each part."""
    page = [
        "# Results",
        "",
        "Written by `make bench`; what the figures mean is in docs/explanation/measurements.md.",
        "",
    ]
    page += ["Medians of interleaved runs, in brackets the least and the most.", ""]
    for part, table in TABLES.items():
        if part in parts:
            result = parts[part]
            page += [f"## {part}", "", *table(result["rows"]), "", _origin(result), ""]
    return page[:-1]


def _origin(result: Mapping[str, Any]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    versions = ", ".join(f"{name} {value}" for name, value in result["versions"].items())
    return f"Measured {result['measured_at']}; {machine}; {versions}."


def throughput(rows: Sequence[Row]) -> list[str]:
    """Rivals by events per second and per CPU second, and the gate's ratio to each in the same run."""
    of = _by(rows, "rival")
    head = ["", "promises", "events/s", "per CPU second", "peak MiB", "broker CPU µs an event"]
    head += ["gate ÷ it, events/s", "gate ÷ it, per CPU second"]
    table = [_line(*head), "|---" * len(head) + "|"]
    for rival in _known(of):
        mine = of[rival]
        cells = [_figure(mine, key) for key in ("per_second", "per_cpu_second", "peak_mib", "broker_cpu_us")]
        cells += [
            _ratio(of.get("gate", ()), mine, key) if rival != "gate" else "" for key in ("per_second", "per_cpu_second")
        ]
        table.append(_line(TITLES[rival], PROMISES[rival], *cells))
    return table


def latency(rows: Sequence[Row]) -> list[str]:
    """Rivals by rate: p50, p90 and p99 in milliseconds, and the share of a core that the worker took."""
    table = ["| | events/s | p50 ms | p90 ms | p99 ms | cores used |", "|---|---|---|---|---|---|"]
    for rate, at_rate in sorted(_by(rows, "rate").items()):
        of = _by(at_rate, "rival")
        for rival in _known(of):
            late = "" if all(row["complete"] for row in of[rival]) else " (could not keep up)"
            cells = [_figure(of[rival], key, 1) for key in ("p50_ms", "p90_ms", "p99_ms")]
            table.append(_line(TITLES[rival] + late, f"{rate:,}", *cells, _figure(of[rival], "cpu_share", 2)))
    return table


def withdrawals(rows: Sequence[Row]) -> list[str]:
    """Rivals by the time from a withdrawal to the verdict on the next transfer, and what slipped through."""
    table = ["| | p50 ms | p99 ms | released behind an acknowledged withdrawal |", "|---|---|---|---|"]
    of = _by(rows, "rival")
    for rival in _known(of):
        leaked = sum(row["released_after_withdrawal"] for row in of[rival])
        probes = sum(row["probes"] for row in of[rival])
        cells = [_figure(of[rival], key, 1) for key in ("p50_ms", "p99_ms")]
        table.append(_line(TITLES[rival], *cells, f"{leaked} of {probes}"))
    return table


def scaling(rows: Sequence[Row]) -> list[str]:
    """Workers by events per second."""
    table = ["| workers | events/s | per CPU second | peak MiB, all |", "|---|---|---|---|"]
    for workers, mine in sorted(_by(rows, "workers").items()):
        table.append(_line(str(workers), *(_figure(mine, key) for key in ("per_second", "per_cpu_second", "peak_mib"))))
    return table


def growth(rows: Sequence[Row]) -> list[str]:
    """Each dimension by events per second and microseconds of CPU an event."""
    table = ["| | | bytes a transfer | events/s | CPU µs an event | peak MiB |", "|---|---|---|---|---|---|"]
    for dimension, mine in _by(rows, "dimension").items():
        for value, steps in sorted(_by(mine, "value").items()):
            cost = [{"cost": 1e6 / row["per_cpu_second"]} for row in steps]
            cells = [_figure(steps, "transfer_bytes"), _figure(steps, "per_second"), _figure(cost, "cost", 1)]
            table.append(_line(DIMENSIONS[dimension], f"{value:,}", *cells, _figure(steps, "peak_mib")))
    return table


def state(rows: Sequence[Row]) -> list[str]:
    """Prospects by what folding, restoring and holding them takes."""
    shown = {
        "consents_per_second": ("consent events folded and committed a second", 0),
        "consents_per_cpu_second": ("the same, per CPU second", 0),
        "memory_per_second": ("prospects restored a second, memory", 0),
        "rocksdb_per_second": ("prospects restored a second, rocksdb", 0),
        "memory_ready_seconds": ("worker started to all partitions deciding, memory, s", 1),
        "rocksdb_ready_seconds": ("worker started to all partitions deciding, rocksdb on an empty disk, s", 1),
        "memory_json_bytes": ("bytes of JSON a prospect", 0),
        "memory_bytes_beyond_json": ("bytes an idle prospect takes beyond its JSON, memory", 0),
    }
    return _by_size(rows, "prospects", shown)


def replay(rows: Sequence[Row]) -> list[str]:
    """Records replayed a second, and what plan and run take."""
    shown = {
        "replayed_per_second": ("replayed a second", 0),
        "run_peak_mib": ("peak MiB of `replay run`", 0),
        "plan_seconds": ("seconds of `replay plan`", 1),
        "plan_peak_mib": ("peak MiB of `replay plan`", 0),
    }
    return _by_size(rows, "records", shown)


#: Part to its table. A new measurement adds a line here and one in `__main__`.
TABLES: Final[dict[str, Callable[[Sequence[Row]], list[str]]]] = {
    "throughput": throughput,
    "latency": latency,
    "withdrawals": withdrawals,
    "scaling": scaling,
    "growth": growth,
    "state": state,
    "replay": replay,
}


def _by_size(rows: Sequence[Row], unit: str, shown: Mapping[str, tuple[str, int]]) -> list[str]:
    """A column for each number of `unit`, a line for each figure: its key to its title and digits."""
    of = sorted(_by(rows, unit).items())
    table = [_line("", *(f"{count:,} {unit}" for count, _ in of)), "|---" * (len(of) + 1) + "|"]
    for key, (title, digits) in shown.items():
        table.append(_line(title, *(_figure(mine, key, digits) for _, mine in of)))
    return table


def _by(rows: Iterable[Row], key: str) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[key]].append(row)
    return dict(groups)


def _known(of: Mapping[str, Sequence[Row]]) -> list[str]:
    return [rival for rival in TITLES if rival in of]


def _ratio(ours: Sequence[Row], theirs: Sequence[Row], key: str) -> str:
    """Ratios of the runs that both have."""
    mine, other = ({row["run"]: row[key] for row in rows} for rows in (ours, theirs))
    shared = sorted(mine.keys() & other.keys())
    return _shown(ratios([mine[run] for run in shared], [other[run] for run in shared]), 2) if shared else ""


def _figure(rows: Sequence[Row], key: str, digits: int = 0) -> str:
    values = [row[key] for row in rows if key in row]
    return _shown(spread(values), digits) if values else ""


def _shown(figures: Spread, digits: int) -> str:
    median, least, most = (f"{value:,.{digits}f}" for value in (figures.median, figures.least, figures.most))
    return median if least == most else f"{median} ({least}–{most})"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
