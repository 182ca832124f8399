"""What is held back, why, and what becomes of it."""

from typing import Final

from deploy.monitoring.grafana.generate.panel import Board, Panel, Row
from deploy.monitoring.grafana.generate.promql import REPLAYED, lag, rate

QUARANTINE: Final = Board(
    "transfer-gate-quarantine",
    "Transfer gate: quarantine and replay",
    (
        Row(
            "Why records are held back",
            (
                Panel(
                    title="By first reason",
                    what="Quarantine records written.",
                    unit="reqps",
                    queries={"{{reason}}": f"{rate('transfer_gate_quarantined_records_total', by='reason')} > 0"},
                    kind="stacked",
                ),
                Panel(
                    title="Share of what comes in",
                    what="Quarantine records of a reason per input record, over 10 minutes.",
                    unit="percentunit",
                    queries={"{{reason}}": "transfer_gate:quarantined:share10m > 0"},
                ),
                Panel(
                    title="In the last day",
                    what="The ten most frequent first reasons.",
                    unit="short",
                    queries={
                        "{{reason}}": "topk(10, sum by (reason) "
                        "(increase(transfer_gate_quarantined_records_total[1d])) > 0)"
                    },
                    kind="bars",
                ),
                Panel(
                    title="Channels held, by partner",
                    what="`unknown` are ids outside the registry, `none` records that could not be read.",
                    unit="reqps",
                    queries={"{{partner}}": rate("transfer_gate_decisions_total", 'outcome!="released"', "partner")},
                    kind="stacked",
                ),
                Panel(
                    title="Unreadable consent events",
                    what="Each blocks its prospect until somebody settles it.",
                    unit="short",
                    queries={"an hour": "sum(increase(transfer_gate_unreadable_consents_total[1h]))"},
                ),
                Panel(
                    title="Rules that raised",
                    what="Defects of the gate.",
                    unit="short",
                    queries={"{{rule}}": "sum by (rule) (increase(transfer_gate_rule_errors_total[1h])) > 0"},
                ),
            ),
        ),
        Row(
            "What becomes of them",
            (
                Panel(
                    title="Oldest open",
                    what="Neither released, discarded nor erased. The topic keeps records for 30 days.",
                    unit="s",
                    queries={"oldest": "max(transfer_gate_quarantine_oldest_open_seconds)"},
                    kind="number",
                    red_from=24 * 86400,
                ),
                Panel(
                    title="Open replay runs",
                    what="Not at their end.",
                    unit="short",
                    queries={"runs": "max(transfer_gate_replay_open_runs)"},
                    kind="number",
                ),
                Panel(
                    title="Replays, by how they ended",
                    what="Records sent back for a fresh decision.",
                    unit="reqps",
                    queries={"{{outcome}}": rate("transfer_gate_replays_total", by="outcome")},
                    kind="stacked",
                ),
                Panel(
                    title="Lag of replays",
                    what="Offsets of transfers-replay not committed, by partition.",
                    unit="short",
                    queries={"{{partition}}": lag(REPLAYED)},
                ),
            ),
        ),
    ),
)
