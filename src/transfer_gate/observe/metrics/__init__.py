"""Every metric of the gate, named and explained in one place; docs/reference/metrics.md is written from it.

Labels are closed sets (`labels`); nothing personal ever enters one.
"""

from typing import Final

from prometheus_client import CollectorRegistry

from transfer_gate.observe.metrics.auditor import (
    AUDIT_POSITION,
    AUDIT_RECORDS,
    LEAKS,
    QUARANTINE_OLDEST_OPEN_SECONDS,
    REPLAY_OPEN_RUNS,
)
from transfer_gate.observe.metrics.consent import (
    BARRIER_SECONDS,
    BARRIER_WAITING,
    BARRIER_WAITING_SECONDS,
    CONSENT_POSITION,
    HISTORY_OVERFLOWS,
    PROSPECTS,
    STRAY_CONSENTS,
    UNREADABLE_CONSENTS,
    WITHDRAWAL_SECONDS,
)
from transfer_gate.observe.metrics.decisions import (
    DECISION_SECONDS,
    DECISIONS,
    EVENTS,
    LATENCY_SECONDS,
    QUARANTINED,
    ROUND_RECORDS,
    RULE_ERRORS,
    TIMELY,
    TIMELY_SECONDS,
)
from transfer_gate.observe.metrics.declare import CATALOGUE, REGISTRIES, Metric
from transfer_gate.observe.metrics.ingest import (
    INGEST_EVENTS,
    INGEST_OPEN_REQUESTS,
    INGEST_REQUESTS,
    INGEST_SECONDS,
)
from transfer_gate.observe.metrics.program import BUILD, LOOP_LAG_SECONDS, REGISTRY_INFO, REGISTRY_PARTNERS
from transfer_gate.observe.metrics.replay import REPLAYS
from transfer_gate.observe.metrics.stream import (
    ASSIGNED,
    ASSIGNMENT_SECONDS,
    DELETED_UNDECIDED,
    INBOX_RECORDS,
    LAG,
    OLDEST_WAITING_SECONDS,
    READY,
    REBALANCES,
    RESTORE_REMAINING,
    RESTORED,
    RESTORING,
    STOPPED,
    TRANSACTION_SECONDS,
    TRANSACTIONS,
)

#: What a worker answers at `/metrics`, what an auditor does, and what `ingest` does.
REGISTRY: Final[CollectorRegistry] = REGISTRIES["worker"]
AUDITOR: Final[CollectorRegistry] = REGISTRIES["auditor"]
INGEST: Final[CollectorRegistry] = REGISTRIES["ingest"]

__all__ = [
    "ASSIGNED",
    "ASSIGNMENT_SECONDS",
    "AUDITOR",
    "AUDIT_POSITION",
    "AUDIT_RECORDS",
    "BARRIER_SECONDS",
    "BARRIER_WAITING",
    "BARRIER_WAITING_SECONDS",
    "BUILD",
    "CATALOGUE",
    "CONSENT_POSITION",
    "DECISIONS",
    "DECISION_SECONDS",
    "DELETED_UNDECIDED",
    "EVENTS",
    "HISTORY_OVERFLOWS",
    "INBOX_RECORDS",
    "INGEST",
    "INGEST_EVENTS",
    "INGEST_OPEN_REQUESTS",
    "INGEST_REQUESTS",
    "INGEST_SECONDS",
    "LAG",
    "LATENCY_SECONDS",
    "LEAKS",
    "LOOP_LAG_SECONDS",
    "OLDEST_WAITING_SECONDS",
    "PROSPECTS",
    "QUARANTINED",
    "QUARANTINE_OLDEST_OPEN_SECONDS",
    "READY",
    "REBALANCES",
    "REGISTRIES",
    "REGISTRY",
    "REGISTRY_INFO",
    "REGISTRY_PARTNERS",
    "REPLAYS",
    "REPLAY_OPEN_RUNS",
    "RESTORED",
    "RESTORE_REMAINING",
    "RESTORING",
    "ROUND_RECORDS",
    "RULE_ERRORS",
    "STOPPED",
    "STRAY_CONSENTS",
    "TIMELY",
    "TIMELY_SECONDS",
    "TRANSACTIONS",
    "TRANSACTION_SECONDS",
    "UNREADABLE_CONSENTS",
    "WITHDRAWAL_SECONDS",
    "Metric",
]
