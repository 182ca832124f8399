"""Check everything that the gate depends on, and report of each thing whether it is in order and what to do if not."""

from transfer_gate.doctor.examine import examine
from transfer_gate.doctor.local_checks import Finding, Status

__all__ = ["Finding", "Status", "examine"]
