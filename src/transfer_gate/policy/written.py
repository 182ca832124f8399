"""The rules as their source says, for explanations.

In the compiled package (docs/explanation/compiled.md) a condition is machine code: it takes no stand-in for the facts,
and has no docstring. Its source is there too, and is read here as ordinary Python.
"""

from functools import lru_cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from transfer_gate.model.terms import RuleId
from transfer_gate.policy import decide
from transfer_gate.policy.catalogue import FAMILIES, rules_of
from transfer_gate.policy.rule import Rule


def as_written(rule_id: RuleId) -> Rule:
    """The rule with the words and the condition of its source."""
    return _rules()[rule_id]


@lru_cache(maxsize=1)
def _rules() -> dict[RuleId, Rule]:
    return {rule.id: rule for family in FAMILIES.values() for rule in rules_of(_source(family))}


def _source(family: ModuleType) -> ModuleType:
    file = Path(str(family.__file__))
    if file.suffix == ".py":
        return family
    spec = spec_from_file_location(f"{family.__name__}_as_written", file.with_name(file.name.partition(".")[0] + ".py"))
    if spec is None or spec.loader is None:
        raise ImportError(f"the source of {family.__name__} can't be read")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_compiled() -> bool:
    """Whether the decision runs as machine code (docs/explanation/compiled.md)."""
    return not str(decide.__file__).endswith(".py")
