"""How the workers themselves are doing."""

from typing import Final

from deploy.monitoring.grafana.generate.panel import Board, Panel, Row
from deploy.monitoring.grafana.generate.promql import quantile, quantiles, rate

RUNTIME: Final = Board(
    "transfer-gate-runtime",
    "Transfer gate: runtime",
    (
        Row(
            "Workers",
            (
                Panel(
                    title="Ready",
                    what="What /readyz says, by worker.",
                    unit="short",
                    queries={"{{instance}}": "transfer_gate_ready"},
                ),
                Panel(
                    title="Partitions",
                    what="That each worker decides.",
                    unit="short",
                    queries={"{{instance}}": "transfer_gate_assigned_partitions"},
                    kind="stacked",
                ),
                Panel(
                    title="Version and registry revision",
                    what="All workers should say the same, but for the time of a rollout.",
                    unit="short",
                    queries={
                        "version {{version}}": "count by (version) (transfer_gate_build_info)",
                        "registry {{revision}}": "count by (revision) (transfer_gate_registry_info)",
                    },
                    kind="bars",
                ),
                Panel(
                    title="CPU",
                    what="Cores; a worker can use little more than one.",
                    unit="short",
                    queries={
                        "{{instance}}": 'sum by (instance) (rate(process_cpu_seconds_total{job="transfer-gate"}'
                        "[$__rate_interval]))"
                    },
                ),
                Panel(
                    title="Memory",
                    what="Resident.",
                    unit="bytes",
                    queries={"{{instance}}": 'process_resident_memory_bytes{job="transfer-gate"}'},
                ),
                Panel(
                    title="Open files",
                    what="And what the system allows.",
                    unit="short",
                    queries={
                        "{{instance}}": 'process_open_fds{job="transfer-gate"}',
                        "most allowed": 'min(process_max_fds{job="transfer-gate"})',
                    },
                ),
                Panel(
                    title="Event-loop lag",
                    what="Time in which nothing else of the process could run.",
                    unit="s",
                    queries=quantiles("transfer_gate_event_loop_lag_seconds"),
                ),
                Panel(
                    title="Prospects",
                    what="In the consent table, by worker.",
                    unit="short",
                    queries={"{{instance}}": "sum by (instance) (transfer_gate_prospects)"},
                    kind="stacked",
                ),
                Panel(
                    title="Inbox",
                    what="Fetched records that wait for their round, by topic.",
                    unit="short",
                    queries={"{{topic}}": "sum by (topic) (transfer_gate_inbox_records)"},
                ),
            ),
        ),
        Row(
            "Rounds",
            (
                Panel(
                    title="Transactions, by outcome",
                    what="Failed and fenced ones are aborted; their records are decided again.",
                    unit="ops",
                    queries={"{{outcome}}": rate("transfer_gate_transactions_total", by="outcome")},
                    kind="stacked",
                ),
                Panel(
                    title="Transaction",
                    what="From its first request to its commit.",
                    unit="s",
                    queries=quantiles("transfer_gate_transaction_seconds"),
                ),
                Panel(
                    title="Barrier",
                    what="From the question for the high watermark to consent applied up to there.",
                    unit="s",
                    queries=quantiles("transfer_gate_barrier_seconds"),
                ),
                Panel(
                    title="Decision",
                    what="To fold, decide and encode one record.",
                    unit="s",
                    queries=quantiles("transfer_gate_decision_seconds"),
                ),
                Panel(
                    title="Records in a round",
                    what="More when there is more to do: that is how throughput grows.",
                    unit="short",
                    queries=quantiles("transfer_gate_round_records"),
                ),
            ),
        ),
        Row(
            "Assignments",
            (
                Panel(
                    title="Rebalances",
                    what="In ten minutes, by worker.",
                    unit="short",
                    queries={"{{instance}}": "increase(transfer_gate_rebalances_total[10m])"},
                ),
                Panel(
                    title="From assigned to open",
                    what="Fencing and restoring.",
                    unit="s",
                    queries={"p99": quantile(0.99, "transfer_gate_assignment_seconds")},
                ),
                Panel(
                    title="Restore",
                    what="Changelog records read per second, and partitions at it.",
                    unit="short",
                    queries={
                        "records/s": rate("transfer_gate_restored_records_total"),
                        "partitions": "sum(transfer_gate_restoring_partitions)",
                    },
                ),
                Panel(
                    title="Restore: still to read",
                    what="Changelog offsets.",
                    unit="short",
                    queries={"{{instance}}": "sum by (instance) (transfer_gate_restore_remaining_offsets)"},
                ),
                Panel(
                    title="Consent position",
                    what="Events below it are applied, by partition.",
                    unit="short",
                    queries={"{{partition}}": "max by (partition) (transfer_gate_consent_position)"},
                ),
            ),
        ),
    ),
)
