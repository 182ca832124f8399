"""The demo: a local Kafka, a worker, invented prospects, and the proof that nothing went where it must not."""

from transfer_gate.local.demo.run import DemoPlan, DemoResult, DemoStage, run_demo

__all__ = ["DemoPlan", "DemoResult", "DemoStage", "run_demo"]
