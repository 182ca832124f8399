"""Replays: quarantined records that come back for a fresh decision."""

from typing import Final

from prometheus_client import Counter, Gauge

from transfer_gate.observe.metrics.declare import counter, gauge
from transfer_gate.observe.metrics.labels import REPLAY_OUTCOMES

REPLAYS: Final[Counter] = counter(
    "transfer_gate_replays",
    "Quarantined records that came back, by outcome: released, requarantined, discarded, erased (its payload can't be "
    "read any more), refused (its attempt stays open), ignored (its attempt was over already).",
    "outcome",
)
REPLAY_OPEN_RUNS: Final[Gauge] = gauge("transfer_gate_replay_open_runs", "Replay runs that are not at their end.")

for _outcome in REPLAY_OUTCOMES:
    REPLAYS.labels(_outcome)
