"""Is it going well? What comes in, what goes out, how quickly, and what waits."""

from typing import Final

from deploy.monitoring.grafana.generate.panel import Board, Panel, Row
from deploy.monitoring.grafana.generate.promql import CONSENTS, TRANSFERS, lag, quantiles, rate

OVERVIEW: Final = Board(
    "transfer-gate-overview",
    "Transfer gate: overview",
    (
        Row(
            "Now",
            (
                Panel(
                    title="Leaks",
                    what="Released although consent forbade it, as the auditor finds. Must be 0; no value: no auditor.",
                    unit="short",
                    queries={"leaks": "sum(max_over_time(transfer_gate_leaks_total[1d]))"},
                    kind="number",
                    red_from=1,
                ),
                Panel(
                    title="Workers",
                    what="Workers that answer.",
                    unit="short",
                    queries={"workers": 'sum(up{job="transfer-gate"})'},
                    kind="number",
                    red_below=1,
                ),
                Panel(
                    title="Partitions decided",
                    what="By all workers together; less than the topics have means that some wait.",
                    unit="short",
                    queries={"partitions": "sum(transfer_gate_assigned_partitions)"},
                    kind="number",
                    red_below=1,
                ),
                Panel(
                    title="Transfers",
                    what="Transfers decided and committed, per second.",
                    unit="reqps",
                    queries={"transfers": rate("transfer_gate_events_total", TRANSFERS)},
                    kind="number",
                ),
                Panel(
                    title="Late",
                    what="Share of transfers not decided within 5 s, last 5 minutes; the objective allows 0.1 %.",
                    unit="percentunit",
                    queries={"late": "transfer_gate:late:ratio_rate5m"},
                    kind="number",
                    red_from=0.001,
                ),
                Panel(
                    title="Waiting at the barrier",
                    what="Longest wait for consent events, now.",
                    unit="s",
                    queries={"longest": "max(transfer_gate_barrier_waiting_seconds)"},
                    kind="number",
                    red_from=60,
                ),
            ),
        ),
        Row(
            "What comes in, what goes out",
            (
                Panel(
                    title="Input records",
                    what="Committed, by topic.",
                    unit="reqps",
                    queries={"{{topic}}": rate("transfer_gate_events_total", by="topic")},
                ),
                Panel(
                    title="Channels decided",
                    what="One transfer asks for several channels of several partners.",
                    unit="reqps",
                    queries={
                        "released": rate("transfer_gate_decisions_total", 'outcome="released"'),
                        "held": rate("transfer_gate_decisions_total", 'outcome!="released"'),
                    },
                    kind="stacked",
                ),
                Panel(
                    title="Released, by partner",
                    what="Channels.",
                    unit="reqps",
                    queries={"{{partner}}": rate("transfer_gate_decisions_total", 'outcome="released"', "partner")},
                    kind="stacked",
                ),
            ),
        ),
        Row(
            "How quickly",
            (
                Panel(
                    title="From timestamp to commit",
                    what="Of the oldest transfer of each round.",
                    unit="s",
                    queries=quantiles("transfer_gate_latency_seconds"),
                ),
                Panel(
                    title="From withdrawal to applied",
                    what="Of the oldest withdrawal, objection, erasure or restriction of each round.",
                    unit="s",
                    queries=quantiles("transfer_gate_withdrawal_applied_seconds"),
                ),
                Panel(
                    title="Late share",
                    what="Not decided within 5 s; the burn-rate alerts look at these windows.",
                    unit="percentunit",
                    queries={
                        "5 min": "transfer_gate:late:ratio_rate5m",
                        "1 h": "transfer_gate:late:ratio_rate1h",
                        "6 h": "transfer_gate:late:ratio_rate6h",
                        "3 d": "transfer_gate:late:ratio_rate3d",
                    },
                ),
            ),
        ),
        Row(
            "What waits",
            (
                Panel(
                    title="Lag of transfers",
                    what="Offsets not committed, by partition.",
                    unit="short",
                    queries={"{{partition}}": lag(TRANSFERS)},
                ),
                Panel(
                    title="Lag of consent events",
                    what="Offsets not applied, by partition. Stands still behind an open transaction.",
                    unit="short",
                    queries={"{{partition}}": lag(CONSENTS)},
                ),
                Panel(
                    title="Wait at the barrier, now",
                    what="By partition: how long its transfers have waited for consent events.",
                    unit="s",
                    queries={"{{partition}}": "max by (partition) (transfer_gate_barrier_waiting_seconds)"},
                ),
                Panel(
                    title="Transfers at the barrier, now",
                    what="By partition.",
                    unit="short",
                    queries={"{{partition}}": "sum by (partition) (transfer_gate_barrier_waiting_records)"},
                ),
                Panel(
                    title="Oldest transfer that waits",
                    what="By partition, by its timestamp.",
                    unit="s",
                    queries={"{{partition}}": "max by (partition) (transfer_gate_oldest_waiting_seconds)"},
                ),
                Panel(
                    title="Audited",
                    what="Released records checked again by the auditor, by what it found.",
                    unit="reqps",
                    queries={"{{outcome}}": rate("transfer_gate_audit_records_total", by="outcome")},
                    kind="stacked",
                ),
            ),
        ),
    ),
)
