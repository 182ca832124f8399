"""Every metric of the gate, named and explained in one place. Labels are closed sets; nothing personal ever enters
one.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

REGISTRY: Final = CollectorRegistry(auto_describe=True)

_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)

EVENTS: Final = Counter(
    "transfer_gate_events", "Input records taken into a committed round, by topic.", ["topic"], registry=REGISTRY
)
DECISIONS: Final = Counter(
    "transfer_gate_decisions",
    "Channels decided, by partner and outcome: `released` or the first reason.",
    ["partner", "outcome"],
    registry=REGISTRY,
)
UNREADABLE_CONSENTS: Final = Counter(
    "transfer_gate_unreadable_consents",
    "Consent events that could not be read; each is in quarantine.",
    registry=REGISTRY,
)
RULE_ERRORS: Final = Counter(
    "transfer_gate_rule_errors", "Rules that raised: a defect of the gate, held back.", ["rule"], registry=REGISTRY
)
REPLAYS: Final = Counter(
    "transfer_gate_replays",
    "Quarantined records that came back, by outcome: released, requarantined, discarded, erased (its payload can't be "
    "read any more), refused (its attempt stays open), ignored (its attempt was over already).",
    ["outcome"],
    registry=REGISTRY,
)
TRANSACTIONS: Final = Counter(
    "transfer_gate_transactions",
    "Rounds, by how they ended: committed, failed, fenced.",
    ["outcome"],
    registry=REGISTRY,
)
TRANSACTION_SECONDS: Final = Histogram(
    "transfer_gate_transaction_seconds", "From the first request of a transaction to its commit.", buckets=_SECONDS,
    registry=REGISTRY,
)  # fmt: skip
LATENCY_SECONDS: Final = Histogram(
    "transfer_gate_latency_seconds",
    "From the broker's or producer's timestamp of the oldest transfer of a round to its commit.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
BARRIER_SECONDS: Final = Histogram(
    "transfer_gate_barrier_seconds",
    "How long a round waited until every acknowledged consent event was applied.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
BARRIER_WAITING: Final = Gauge(
    "transfer_gate_barrier_waiting_records",
    "Transfers that wait for consent events now.",
    ["partition"],
    registry=REGISTRY,
)
CONSENT_POSITION: Final = Gauge(
    "transfer_gate_consent_position", "Consent events below this offset are applied.", ["partition"], registry=REGISTRY
)
INBOX_RECORDS: Final = Gauge(
    "transfer_gate_inbox_records", "Fetched records that wait for a round.", ["topic", "partition"], registry=REGISTRY
)
PROSPECTS: Final = Gauge("transfer_gate_prospects", "Prospects in the consent table.", ["partition"], registry=REGISTRY)
RESTORE_REMAINING: Final = Gauge(
    "transfer_gate_restore_remaining_offsets", "Changelog offsets still to read.", ["partition"], registry=REGISTRY
)
RESTORED: Final = Counter("transfer_gate_restored_records", "Changelog records read at assignments.", registry=REGISTRY)
ASSIGNED: Final = Gauge("transfer_gate_assigned_partitions", "Partitions that this worker decides.", registry=REGISTRY)
REBALANCES: Final = Counter("transfer_gate_rebalances", "Times that partitions were given out anew.", registry=REGISTRY)
BUILD: Final = Info("transfer_gate_build", "Version of the gate and revision of its registry.", registry=REGISTRY)
