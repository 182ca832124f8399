"""What `ingest` takes from consent platforms, and what becomes of it."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from transfer_gate.observe.metrics.declare import counter, gauge, histogram

INGEST_REQUESTS: Final[Counter] = counter(
    "transfer_gate_ingest_requests",
    "Requests of consent platforms, by source and outcome; `accepted` means that every in-sync replica has its events.",
    "source",
    "outcome",
    exporter="ingest",
)
INGEST_EVENTS: Final[Counter] = counter(
    "transfer_gate_ingest_events",
    "Events in requests that were written, by source and what they became.",
    "source",
    "became",
    exporter="ingest",
)
INGEST_SECONDS: Final[Histogram] = histogram(
    "transfer_gate_ingest_seconds", "From the head of a request to its answer.", exporter="ingest"
)
INGEST_OPEN_REQUESTS: Final[Gauge] = gauge(
    "transfer_gate_ingest_open_requests", "Requests that wait for their answer now.", exporter="ingest"
)
