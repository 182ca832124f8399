"""What other programs than the worker export: the auditor, which also looks at replay and quarantine."""

from typing import Final

from prometheus_client import Counter, Gauge

from transfer_gate.observe.metrics.declare import counter, gauge

AUDIT_RECORDS: Final[Counter] = counter(
    "transfer_gate_audit_records", "Released records checked, by outcome of the audit.", "outcome", exporter="auditor"
)
LEAKS: Final[Counter] = counter(
    "transfer_gate_leaks",
    "Released records that a consent event acknowledged before the decision forbids. Must stay 0.",
    exporter="auditor",
)
AUDIT_POSITION: Final[Gauge] = gauge(
    "transfer_gate_audit_position", "Next offset that the auditor reads.", "topic", "partition", exporter="auditor"
)
QUARANTINE_OLDEST_OPEN_SECONDS: Final[Gauge] = gauge(
    "transfer_gate_quarantine_oldest_open_seconds",
    "Age of the oldest quarantined record that is neither released, discarded nor erased.",
    exporter="auditor",
)
REPLAY_OPEN_RUNS: Final[Gauge] = gauge(
    "transfer_gate_replay_open_runs",
    "Replay runs that started and neither ended nor were cancelled.",
    exporter="auditor",
)
