"""Every metric, declared and explained in one place; docs/reference/metrics.md is written from it.

Labels are closed sets: nothing personal enters one, and nothing that a record can invent.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from msgspec import Struct
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from transfer_gate.model.terms import REASONS

Exporter = Literal["worker", "auditor", "ingest"]

# A `_created` series beside every counter would double what is stored, and no query uses it.
disable_created_metrics()

#: What each program answers at `/metrics`: each its own, so that no worker says "0 leaks" about what it never checks.
REGISTRIES: Final[dict[Exporter, CollectorRegistry]] = {
    "worker": CollectorRegistry(auto_describe=True),
    "auditor": CollectorRegistry(auto_describe=True),
    "ingest": CollectorRegistry(auto_describe=True),
}

#: Of a worker, of an auditor and of `ingest`.
REGISTRY: Final = REGISTRIES["worker"]
AUDITOR: Final = REGISTRIES["auditor"]
INGEST: Final = REGISTRIES["ingest"]

SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metric(Struct, frozen=True, kw_only=True):
    """A line of the catalogue; `name` is that of queries, without the `_bucket`, `_sum`, `_count` of a histogram."""

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


# Values of labels

#: Partners with a label value of their own; those that come after, by party id, share `OTHERS`.
MOST_PARTNERS: Final = 200
OTHERS: Final = "others"
#: A party id that is not in the registry, and a record of which no partner could be read.
UNKNOWN: Final = "unknown"
NONE: Final = "none"

RELEASED: Final = "released"
TRANSACTION_OUTCOMES: Final = ("committed", "failed", "fenced")
REPLAY_OUTCOMES: Final = ("released", "requarantined", "discarded", "erased", "refused", "ignored")

#: For the reference page: what the values of each label are.
VALUES: Final = {
    "partner": f"party ids of the registry, the first {MOST_PARTNERS} by name; `{OTHERS}` for the rest; `{UNKNOWN}` "
    f"for ids outside the registry; `{NONE}` where no partner could be read",
    "outcome": "closed, named by the metric",
    "source": "sources of `ingest`: those that have a file",
    "became": "types of consent events; `unreadable`, `of_nobody`, `passed_over`, `other_regulation`",
    "reason": "the reasons of [rules](rules.md); of `transfer_gate_partition_stopped` the error, such as "
    "`history-lost` ([runbook](../runbooks/TransferGatePartitionStopped.md))",
    "rule": "rule ids of [rules](rules.md); `gate` and `definitions` for defects outside a single rule",
    "topic": "names of the topics that the program reads",
    "partition": "partition numbers that the program reads now",
    "version": "one value",
    "compiled": "`yes`, `no`",
    "revision": "one value",
    "jurisdiction": "one value",
}


def partner_labels(party_ids: Iterable[str]) -> dict[str, str]:
    """Party id of the registry to its label value."""
    return {party: party if rank < MOST_PARTNERS else OTHERS for rank, party in enumerate(sorted(party_ids))}


def outcomes() -> tuple[str, ...]:
    """Every value of `outcome` of `transfer_gate_decisions_total`."""
    return (RELEASED, *REASONS)


# What came in, what was decided, how long it took

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


# How quickly consent is applied, and what waits for it

UNREADABLE_CONSENTS: Final[Counter] = counter(
    "transfer_gate_unreadable_consents", "Consent events that could not be read; each is in quarantine."
)
NOTICES: Final[Counter] = counter(
    "transfer_gate_recall_notices",
    "Records on the partner's suppression topic: what it must stop using, or may use again.",
    "partner",
)
NOTICES_UNADDRESSED: Final[Counter] = counter(
    "transfer_gate_recall_notices_unaddressed",
    "Parties that were served what a person has taken away, and have no file with a suppression address any more.",
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


# Partitions, transactions, rebalances

TRANSACTIONS: Final[Counter] = counter(
    "transfer_gate_transactions", f"Rounds, by how they ended: {', '.join(TRANSACTION_OUTCOMES)}.", "outcome"
)
TRANSACTION_SECONDS: Final[Histogram] = histogram(
    "transfer_gate_transaction_seconds", "From the first request of a transaction to its commit."
)
INBOX_RECORDS: Final[Gauge] = gauge(
    "transfer_gate_inbox_records", "Fetched records that wait for a round.", "topic", "partition"
)
LAG: Final[Gauge] = gauge(
    "transfer_gate_consumer_lag_offsets",
    "Offsets between the high watermark and what is committed; the high watermark is asked every 5 s.",
    "topic",
    "partition",
)
OLDEST_WAITING_SECONDS: Final[Gauge] = gauge(
    "transfer_gate_oldest_waiting_seconds",
    "Age, by its timestamp, of the transfer that waits first; 0 when none was fetched and not decided.",
    "partition",
)
DELETED_UNDECIDED: Final[Counter] = counter(
    "transfer_gate_deleted_undecided_offsets",
    "Offsets of transfers and replays that retention had deleted before they were decided, found so far.",
)
RESTORING: Final[Gauge] = gauge(
    "transfer_gate_restoring_partitions", "Partitions whose table is being brought up to the end of the changelog now."
)
RESTORE_REMAINING: Final[Gauge] = gauge(
    "transfer_gate_restore_remaining_offsets", "Changelog offsets still to read.", "partition"
)
RESTORED: Final[Counter] = counter("transfer_gate_restored_records", "Changelog records read at assignments.")
ASSIGNMENT_SECONDS: Final[Histogram] = histogram(
    "transfer_gate_assignment_seconds",
    "From an assignment to its partitions being open: fencing and restoring.",
    (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900),
)
ASSIGNED: Final[Gauge] = gauge("transfer_gate_assigned_partitions", "Partitions that this worker decides.")
READY: Final[Gauge] = gauge("transfer_gate_ready", "What `/readyz` says: 1 when every assigned partition decides.")
STOPPED: Final[Gauge] = gauge(
    "transfer_gate_partition_stopped",
    "1 for every assigned partition that can't go on; the worker's log says why and what to do.",
    "partition",
    "reason",
)
REBALANCES: Final[Counter] = counter("transfer_gate_rebalances", "Times that partitions were given out anew.")

for _outcome in TRANSACTION_OUTCOMES:
    TRANSACTIONS.labels(_outcome)


# Replays: quarantined records that come back for a fresh decision

REPLAYS: Final[Counter] = counter(
    "transfer_gate_replays",
    "Quarantined records that came back, by outcome: released, requarantined, discarded, erased (its payload can't be "
    "read any more), refused (its attempt stays open), ignored (its attempt was over already).",
    "outcome",
)

for _outcome in REPLAY_OUTCOMES:
    REPLAYS.labels(_outcome)


# The auditor, which also watches replay and quarantine

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


# What `ingest` takes from consent platforms, and what becomes of it

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

# The process: what it runs, by which registry, and whether its event loop turns

BUILD: Final[Info] = info(
    "transfer_gate_build",
    "Version of the gate, whether its decision is `compiled` (`yes` or `no`), and revision of its registry.",
    "version",
    "compiled",
    "revision",
)
REGISTRY_INFO: Final[Info] = info(
    "transfer_gate_registry", "What decisions are taken by: revision and jurisdiction.", "revision", "jurisdiction"
)
REGISTRY_PARTNERS: Final[Gauge] = gauge("transfer_gate_registry_partners", "Partners in the registry.")
LOOP_LAG_SECONDS: Final[Histogram] = histogram(
    "transfer_gate_event_loop_lag_seconds",
    "By how much a pause of 0.25 s of the event loop was too long: time in which nothing else could run.",
    (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)

#: `process_*`: CPU, memory, open files, start time; the names that every Prometheus client uses. On Linux only.
for _registry in REGISTRIES.values():
    ProcessCollector(registry=_registry)
