"""Replays: quarantined records that come back for a fresh decision."""

from typing import Final

from prometheus_client import Counter

from transfer_gate.observe.metrics.declare import counter
from transfer_gate.observe.metrics.labels import REPLAY_OUTCOMES

REPLAYS: Final[Counter] = counter(
    "transfer_gate_replays",
    "Quarantined records that came back, by outcome: released, requarantined, discarded, erased (its payload can't be "
    "read any more), refused (its attempt stays open), ignored (its attempt was over already).",
    "outcome",
)

for _outcome in REPLAY_OUTCOMES:
    REPLAYS.labels(_outcome)
