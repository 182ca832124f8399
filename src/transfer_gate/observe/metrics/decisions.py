"""What came in, what was decided, how long it took."""

from typing import Final

from prometheus_client import Counter, Histogram

from transfer_gate.model.reasons import REASONS
from transfer_gate.observe.metrics.declare import counter, histogram

#: A transfer that is decided and committed within this time counts as timely, seconds.
TIMELY_SECONDS: Final = 5

EVENTS: Final[Counter] = counter(
    "transfer_gate_events", "Input records taken into a committed round, by topic.", "topic"
)
DECISIONS: Final[Counter] = counter(
    "transfer_gate_decisions",
    "Channels decided, by partner and outcome: `released` or the first reason.",
    "partner",
    "outcome",
)
QUARANTINED: Final[Counter] = counter(
    "transfer_gate_quarantined_records", "Records written to quarantine, by their first reason.", "reason"
)
RULE_ERRORS: Final[Counter] = counter(
    "transfer_gate_rule_errors", "Rules that raised: a defect of the gate, held back.", "rule"
)
TIMELY: Final[Counter] = counter(
    "transfer_gate_timely_transfers",
    f"Transfers whose decision was committed within {TIMELY_SECONDS} s of their timestamp.",
)
LATENCY_SECONDS: Final[Histogram] = histogram(
    "transfer_gate_latency_seconds",
    "From the broker's or producer's timestamp of the oldest transfer of a round to its commit.",
)
DECISION_SECONDS: Final[Histogram] = histogram(
    "transfer_gate_decision_seconds",
    "Time to fold, decide and encode one record: the average of a round, observed once a round.",
    (5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2, 1e-1),
)
ROUND_RECORDS: Final[Histogram] = histogram(
    "transfer_gate_round_records", "Input records of one round.", (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
)
# A counter has to be there before it counts: its first step, from nothing to 1, would be no increase to Prometheus.
for _reason in REASONS:
    QUARANTINED.labels(_reason)
