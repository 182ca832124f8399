"""How quickly consent is applied, and what waits for it."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from transfer_gate.observe.metrics.declare import counter, gauge, histogram

UNREADABLE_CONSENTS: Final[Counter] = counter(
    "transfer_gate_unreadable_consents", "Consent events that could not be read; each is in quarantine."
)
STRAY_CONSENTS: Final[Counter] = counter(
    "transfer_gate_stray_consents",
    "Consent events that stood in another partition than their key's; each was brought home, and is in quarantine.",
)
HISTORY_OVERFLOWS: Final[Counter] = counter(
    "transfer_gate_history_overflows",
    "Prospects whose history exceeded its bounds: their transfers are quarantined until `consent resolve --history`.",
)
WITHDRAWAL_SECONDS: Final[Histogram] = histogram(
    "transfer_gate_withdrawal_applied_seconds",
    "From the timestamp of the oldest withdrawal, objection, erasure or restriction of a round to its commit.",
)
BARRIER_SECONDS: Final[Histogram] = histogram(
    "transfer_gate_barrier_seconds", "How long a round waited until every acknowledged consent event was applied."
)
BARRIER_WAITING: Final[Gauge] = gauge(
    "transfer_gate_barrier_waiting_records", "Transfers that wait for consent events now.", "partition"
)
BARRIER_WAITING_SECONDS: Final[Gauge] = gauge(
    "transfer_gate_barrier_waiting_seconds", "For how long they have waited; 0 when none do.", "partition"
)
CONSENT_POSITION: Final[Gauge] = gauge(
    "transfer_gate_consent_position", "Consent events below this offset are applied.", "partition"
)
PROSPECTS: Final[Gauge] = gauge("transfer_gate_prospects", "Prospects in the consent table.", "partition")
