"""How a metric is declared: once, in the registry of the program that exports it, with its place in the catalogue."""

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics

Exporter = Literal["worker", "auditor", "ingest"]

# A `_created` series beside every counter would double what is stored, and no query of ours asks for it.
disable_created_metrics()

#: What each program answers at `/metrics`: each its own, so that no worker says "0 leaks" about what it never checks.
REGISTRIES: Final[dict[Exporter, CollectorRegistry]] = {
    "worker": CollectorRegistry(auto_describe=True),
    "auditor": CollectorRegistry(auto_describe=True),
    "ingest": CollectorRegistry(auto_describe=True),
}

SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metric(Struct, frozen=True, kw_only=True):
    """A line of the catalogue; `name` is what queries say, without the `_bucket`, `_sum`, `_count` of a histogram."""

    name: str
    kind: Literal["counter", "gauge", "histogram", "info"]
    exporter: Exporter
    labels: tuple[str, ...]
    meaning: str


CATALOGUE: Final[list[Metric]] = []


def counter(name: str, meaning: str, *labels: str, exporter: Exporter = "worker") -> Counter:
    """A count that only grows; queries see `<name>_total`."""
    CATALOGUE.append(Metric(name=f"{name}_total", kind="counter", exporter=exporter, labels=labels, meaning=meaning))
    return Counter(name, meaning, labels, registry=REGISTRIES[exporter])


def gauge(name: str, meaning: str, *labels: str, exporter: Exporter = "worker") -> Gauge:
    """A value as it is now."""
    CATALOGUE.append(Metric(name=name, kind="gauge", exporter=exporter, labels=labels, meaning=meaning))
    return Gauge(name, meaning, labels, registry=REGISTRIES[exporter])


def histogram(name: str, meaning: str, buckets: Sequence[float] = SECONDS, exporter: Exporter = "worker") -> Histogram:
    """A distribution of what a program measures."""
    CATALOGUE.append(Metric(name=name, kind="histogram", exporter=exporter, labels=(), meaning=meaning))
    return Histogram(name, meaning, registry=REGISTRIES[exporter], buckets=buckets)


def info(name: str, meaning: str, *labels: str) -> Info:
    """A constant 1 whose labels say something; queries see `<name>_info`."""
    CATALOGUE.append(Metric(name=f"{name}_info", kind="info", exporter="worker", labels=labels, meaning=meaning))
    return Info(name, meaning, registry=REGISTRIES["worker"])
