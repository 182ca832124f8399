"""What the auditor counts, on its own metrics port. The leak counter must stay 0."""

from typing import Final

from prometheus_client import Counter, Gauge

from transfer_gate.audit.outcomes import OUTCOMES
from transfer_gate.observe.metrics import REGISTRY

AUDIT_RECORDS: Final = Counter(
    "transfer_gate_audit_records",
    f"Released records checked, by outcome: {', '.join(OUTCOMES)}.",
    ["outcome"],
    registry=REGISTRY,
)
LEAKS: Final = Counter(
    "transfer_gate_leaks",
    "Released records that a consent event acknowledged before the decision forbids. Must stay 0.",
    registry=REGISTRY,
)
AUDIT_POSITION: Final = Gauge(
    "transfer_gate_audit_position",
    "Next offset that the auditor reads.",
    ["topic", "partition"],
    registry=REGISTRY,
)
QUARANTINE_OLDEST_OPEN_SECONDS: Final = Gauge(
    "transfer_gate_quarantine_oldest_open_seconds",
    "Age of the oldest quarantined record that was neither replayed nor discarded; 0 when there is none.",
    registry=REGISTRY,
)
for _outcome in OUTCOMES:
    AUDIT_RECORDS.labels(_outcome)  # a counter that must stay 0 has to be there to be watched
