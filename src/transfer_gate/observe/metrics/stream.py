"""Partitions, transactions, rebalances: how the stream itself is doing."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from transfer_gate.observe.metrics.declare import counter, gauge, histogram
from transfer_gate.observe.metrics.labels import TRANSACTION_OUTCOMES

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
