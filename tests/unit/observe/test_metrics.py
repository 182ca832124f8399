"""The catalogue is whole, its series are bounded, and its reference page says what the code says."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from transfer_gate.gate.inbox import RoundRecords
from transfer_gate.gate.monitoring import Lag, Meter, PartitionSnapshot, set_gauges
from transfer_gate.gate.round import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, Tables
from transfer_gate.model.terms import REASONS
from transfer_gate.model.topics import Topics
from transfer_gate.observe import metrics
from transfer_gate.observe.metrics import (
    CATALOGUE,
    MOST_PARTNERS,
    NONE,
    OTHERS,
    RELEASED,
    UNKNOWN,
    VALUES,
    Exporter,
    outcomes,
    partner_labels,
)
from transfer_gate.observe.reference import page
from transfer_gate.registry import registry_from_objects

ROOT = Path(__file__).parents[3]
#: More partners than have a label of their own, and as many partitions as a large installation gives one worker.
PARTNERS, PARTITIONS = MOST_PARTNERS + 50, 64
#: What a worker may hold at most: partners x outcomes, and the rest.
MOST_SERIES = 12_500
NOW = dt.datetime(2026, 10, 5, 8, tzinfo=dt.UTC)


def families(registry: CollectorRegistry) -> list[Metric]:
    """What `/metrics` answers, read by Prometheus's own parser."""
    return list(text_string_to_metric_families(generate_latest(registry).decode()))


def rulebook(partners: int) -> Rulebook:
    """As many partners as asked for, and nothing else."""
    listed = {
        f"partner-{number:04}": {
            "party_id": f"partner-{number:04}",
            "legal_name": "Partner SA",
            "country": "FR",
            "role": "controller",
            "status": "active",
            "categories": ["insurance"],
            "contract": {"valid_from": "2020-01-01T00:00:00+01:00", "no_onward": True},
            "suppression": {"endpoint": "https://partner.example/suppression"},
            "listed": [{"from": "2020-01-01T00:00:00+01:00"}],
            "fields": [],
        }
        for number in range(partners)
    }
    registry = registry_from_objects({"partners": listed, "notices": {}, "policy": {"jurisdiction": "FR"}})
    return Rulebook.of(Topics(), registry)


def test_the_reference_page_is_what_the_code_writes() -> None:
    assert (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8") == page(), (
        "write it anew: python -m transfer_gate.observe.reference > docs/reference/metrics.md"
    )


@pytest.mark.parametrize("exporter", ["worker", "auditor", "ingest"])
def test_what_is_exported_is_exactly_what_the_catalogue_lists(exporter: Exporter) -> None:
    """So nothing can be counted that is not explained."""
    suffix = {"counter": "_total", "info": "_info", "gauge": "", "histogram": ""}
    exported = {
        family.name + suffix[family.type]
        for family in families(metrics.REGISTRIES[exporter])
        if not family.name.startswith("process_")
    }
    listed = [metric for metric in CATALOGUE if metric.exporter == exporter]
    assert exported == {metric.name for metric in listed}
    assert len(exported) == len(listed)


def test_every_label_is_a_set_that_the_page_explains() -> None:
    assert {label for metric in CATALOGUE for label in metric.labels} == set(VALUES)


def test_the_first_partners_have_a_label_of_their_own_and_the_rest_share_one() -> None:
    labels = partner_labels([f"p-{number:04}" for number in range(MOST_PARTNERS + 3)])
    assert labels["p-0000"] == "p-0000"
    assert [labels[f"p-{number:04}"] for number in range(MOST_PARTNERS, MOST_PARTNERS + 3)] == [OTHERS] * 3


@pytest.fixture
def nothing_decided() -> Iterator[None]:
    """The metrics of decisions are those of the process: nobody else's are in them, and none are left."""
    metrics.DECISIONS.clear()
    metrics.NOTICES.clear()
    metrics.RESTORE_REMAINING.clear()
    yield
    metrics.DECISIONS.clear()
    metrics.NOTICES.clear()


@pytest.mark.usefixtures("nothing_decided")
def test_the_largest_registry_has_a_bounded_number_of_series() -> None:
    """Every partner released and held for every reason, ids from outside the registry, 64 partitions."""
    book = rulebook(PARTNERS)
    meter = Meter(book)
    work = Round(book, Tables(MemorySlice(), MemorySlice()), 0, NOW)
    invented = [f"claire-{number}@courriel.example" for number in range(1000)]
    for outcome in outcomes():
        for partner in (*book.partner_topics, *invented, ""):
            work.outcomes[partner, outcome] += 1
        work.quarantined[outcome] += outcome != RELEASED
    work.notices.update(list(book.partner_topics))
    meter.round(work, RoundRecords(), 0.1)
    topics = book.inputs
    snapshots = [
        PartitionSnapshot(
            number=number,
            applied=1,
            positions=dict.fromkeys(topics, 1),
            inbox=dict.fromkeys(topics, 1),
            waiting=1,
            since=0.0,
            oldest=1,
            prospects=1,
        )
        for number in range(PARTITIONS)
    ]
    lag = Lag({}, ())
    lag._ends = {(topic, number): 9 for topic in topics for number in range(PARTITIONS)}
    set_gauges(snapshots, lag, ready=True, stopped={0: "history-lost"})
    found = families(metrics.REGISTRY)
    series = [sample for family in found for sample in family.samples]
    assert len(outcomes()) * (MOST_PARTNERS + 3) < len(series) < MOST_SERIES
    partners = {sample.labels["partner"] for sample in series if "partner" in sample.labels}
    assert partners == {*sorted(book.partner_topics)[:MOST_PARTNERS], OTHERS, UNKNOWN, NONE}
    assert not any("claire" in value for sample in series for value in sample.labels.values())
    set_gauges([], lag, ready=False, stopped={})
    left = [sample for family in families(metrics.REGISTRY) for sample in family.samples]
    assert not any("partition" in sample.labels for sample in left), "a partition that was given up leaves nothing"


def test_the_reasons_of_quarantine_are_there_before_any_record_is() -> None:
    """Prometheus sees no increase in a counter that appears with its first count."""
    (family,) = [family for family in families(metrics.REGISTRY) if family.name == "transfer_gate_quarantined_records"]
    assert {sample.labels["reason"] for sample in family.samples} >= set(REASONS)
