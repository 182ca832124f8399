"""Partners, notices and policy as reviewed files (contract section 4): read, check, compare.

`load_registry` for the gate, `inspect` for a report of everything that is wrong or doubtful, `registry_from_objects`
for the registries inside case files, `compare` for what changed between two of them.
"""

from transfer_gate.registry.checks import Finding, InvalidRegistry, Problem
from transfer_gate.registry.diff import Change, compare
from transfer_gate.registry.folder import Inspection, inspect, load_registry, objects_in
from transfer_gate.registry.parse import registry_from_objects, revision_of

__all__ = [
    "Change",
    "Finding",
    "Inspection",
    "InvalidRegistry",
    "Problem",
    "compare",
    "inspect",
    "load_registry",
    "objects_in",
    "registry_from_objects",
    "revision_of",
]
