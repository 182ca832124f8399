"""The process: what it runs, by which registry, and whether its event loop turns."""

from typing import Final

from prometheus_client import Gauge, Histogram, Info, ProcessCollector

from transfer_gate.observe.metrics.declare import REGISTRIES, gauge, histogram, info

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
