"""The benchmarks' arithmetic and pages. Nothing is timed here."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.__main__ import PARTS, following
from benchmarks.events import Shape, shaped
from benchmarks.figures import Reading, pace, quantile, ratios, spread
from benchmarks.parts.size import Size
from transfer_gate.model.state import EMPTY
from transfer_gate.policy.decide import decide
from transfer_gate.policy.fold import fold
from transfer_gate.records.consents import decode_consent
from transfer_gate.records.transfers import decode_transfer
from transfer_gate.registry import load_registry


def test_median_of_an_even_number_lies_between_the_middle_two() -> None:
    assert spread([4.0, 1.0, 3.0, 2.0]).median == 2.5
    assert spread([9.0, 1.0, 2.0]).median == 2.0


def test_spread_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (0.995, 100), (1.0, 100)])
def test_quantile_is_the_nearest_rank(share: float, value: float) -> None:
    assert quantile([float(n) for n in range(100, 0, -1)], share) == value


def test_ratios_compare_the_runs_that_stood_side_by_side() -> None:
    # The machine was twice as slow in the second round: the ratio does not move.
    assert ratios([100.0, 50.0], [50.0, 25.0]) == spread([2.0, 2.0])


def test_pace_takes_off_what_was_done_before_the_first_reading() -> None:
    readings = [
        Reading(at=0.0, done=0, cpu=1.0, resident=1 << 20, broker_cpu=1.0),
        Reading(at=9.0, done=100, cpu=5.0, resident=3 << 20, broker_cpu=2.0),
        Reading(at=11.0, done=500, cpu=6.0, resident=2 << 20, broker_cpu=2.5),
    ]
    measured = pace(readings, events_per_output=0.5)
    assert measured.per_second == 100.0
    assert measured.per_cpu_second == 200.0
    assert measured.peak_mib == 3.0
    assert measured.broker_cpu_us == 2500.0


def test_pace_does_not_count_the_wait_after_the_last_output() -> None:
    readings = [Reading(1.0, 10, 1.0, 0), Reading(2.0, 20, 2.0, 0), Reading(60.0, 20, 2.1, 0)]
    assert pace(readings, 1.0).per_second == 10.0


def test_pace_of_a_single_burst_is_refused() -> None:
    with pytest.raises(ValueError, match="too few readings"):
        pace([Reading(1.0, 0, 1.0, 0), Reading(2.0, 20, 2.0, 0)], 1.0)


def test_shaped_events_are_released_to_every_partner(tmp_path: Path) -> None:
    events = shaped(tmp_path, Shape(prospects=3, partners=2, consents=3, payload_bytes=500, transfers=3))
    registry = load_registry(events.registry)
    states = dict.fromkeys((b"p-0000000", b"p-0000001", b"p-0000002"), EMPTY)
    for line in events.consents.read_bytes().splitlines():
        key, value = line.split(b"\t")
        states[key] = fold(states[key], decode_consent(value, key), 0)
    assert events.consent_count == 9
    assert events.decisions == 6
    for line in events.transfers.read_bytes().splitlines():
        key, value = line.split(b"\t")
        transfer = decode_transfer(value)
        decisions = decide(transfer, states[key], registry, transfer.requested_at)
        assert [decision.released for decision in decisions] == [("email", "sms")] * 2
        assert len(value) > 500


def _result(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "measured_at": "2026-11-24T10:00:00+00:00",
        "machine": {"cores": "2"},
        "versions": {"python": "3.11"},
        "rows": rows,
    }


def test_report_shows_each_part_that_was_measured_and_the_ratio_run_by_run(tmp_path: Path) -> None:
    rows = [
        {
            "rival": rival,
            "run": run,
            "per_second": speed / (run + 1),
            "per_cpu_second": speed,
            "peak_mib": 80.0,
            "broker_cpu_us": 30.0,
        }
        for rival, speed in (("gate", 30_000.0), ("streams-eos", 20_000.0))
        for run in (0, 1)
    ]
    (tmp_path / "throughput.json").write_text(json.dumps(_result(rows)), encoding="utf-8")
    withdrawn = {"rival": "gate", "run": 0, "probes": 50, "released_after_withdrawal": 0, "p50_ms": 7.0, "p99_ms": 9.0}
    (tmp_path / "withdrawals.json").write_text(json.dumps(_result([withdrawn])), encoding="utf-8")
    report.write(tmp_path)
    page = (tmp_path / "report.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in page if line.startswith("## ")] == ["## throughput", "## withdrawals"]
    assert (
        "| Kafka Streams `exactly_once_v2` | exactly once | 15,000 (10,000–20,000) | 20,000 | 80 | 30 | 1.50 | 1.50 |"
        in page
    )
    assert "| **transfer-gate**, full decision | 7.0 | 9.0 | 0 of 50 |" in page


def test_added_runs_are_numbered_on() -> None:
    assert following(None) == 0
    assert following(_result([{"run": 0}, {"run": 1}])) == 2


def test_rivals_take_turns_back_and_forth() -> None:
    size = Size(runs=2, first=3)
    assert list(size.turns("ab")) == [(3, "b"), (3, "a"), (4, "a"), (4, "b")]


def test_every_part_has_a_table() -> None:
    assert PARTS.keys() == report.TABLES.keys()
