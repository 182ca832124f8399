"""Every rule, in the order of rules.md; and which of them a channel has to answer to."""

import datetime as dt
from bisect import bisect_right
from types import ModuleType
from typing import Final, NamedTuple

from transfer_gate.model.terms import RANK, RuleId
from transfer_gate.policy import (
    consent,
    data,
    event,
    legitimate_interest,
    partner,
    rights,
    sectors,
    telephone,
)
from transfer_gate.policy.facts import Facts
from transfer_gate.policy.rule import Condition, Rule, Scope

#: Heading of rules.md section 3 to the module that holds its rules.
FAMILIES: Final[dict[str, ModuleType]] = {
    "Partner": partner,
    "Event": event,
    "The person's rights": rights,
    "Consent, purpose, notice": consent,
    "Legitimate interest, B2B": legitimate_interest,
    "Telephone": telephone,
    "Banned sectors": sectors,
    "Data": data,
}


def rules_of(family: ModuleType) -> tuple[Rule, ...]:
    """The rules of a family, in the order of rules.md."""
    return tuple(sorted((v for v in vars(family).values() if isinstance(v, Rule)), key=lambda rule: RANK[rule.id]))


RULES: Final = tuple(rule for family in FAMILIES.values() for rule in rules_of(family))
RULE: Final[dict[RuleId, Rule]] = {rule.id: rule for rule in RULES}
#: The rule that looks at the finished record; every other one looks at what came in.
GUARD: Final = RULE["payload-minimised"]

#: A condition and the reason to give when it does not hold.
Test = tuple[Condition, RuleId]

_LAW_CHANGES: Final = tuple(sorted({rule.start for rule in RULES} | {rule.end for rule in RULES if rule.end}))


class Plan(NamedTuple):
    """The conditions that a channel has to answer to, by what they may look at (see `Scope`); the guard apart."""

    partner: tuple[Test, ...]
    shared: tuple[Test, ...]
    channel: tuple[Test, ...]
    opposition: tuple[Test, ...]
    #: Plans with the same number, from 0, ask the same shared questions about the same kind and basis.
    sharing: int


def _condition(rule: Rule) -> Condition:
    """`when` and `holds` as one, for evaluation where channel, kind, basis, marks and dates are known."""
    when, holds = rule.when, rule.holds
    if when is None:
        return holds
    return lambda facts: holds(facts) or not when(facts)


_plans: dict[tuple[object, ...], Plan] = {}
_sharing: dict[object, int] = {}
_TEST: Final = {rule.id: (_condition(rule), rule.id) for rule in RULES}
GUARD_TEST: Final = (_TEST[GUARD.id],)


def era(instant: dt.datetime) -> int:
    """In which period between two changes of law the instant lies; 0 is before the first."""
    return bisect_right(_LAW_CHANGES, instant)


def plan_for(f: Facts, eras: tuple[int, int]) -> Plan:
    """The plan of the channel that `f` looks at; `eras` are those of t and w.

    Which rules apply depends on few things with few values, so every plan is made once.
    """
    key = (f.channel, f.kind, f.basis, f.partner is None, f.consent is None, f.notice is None, eras)
    plan = _plans.get(key)
    if plan is None:
        plan = _plans[key] = _plan(f)
    return plan


def _plan(f: Facts) -> Plan:
    mine = [rule for rule in RULES if rule is not GUARD and rule.concerns(f) and rule.in_force(f.t, f.w)]
    of_scope = {scope: tuple(_TEST[rule.id] for rule in mine if rule.scope is scope) for scope in Scope}
    shared = of_scope[Scope.SHARED]
    # Without c, the consents left out as future are those of one channel: nothing to share.
    alike = (f.kind, f.basis, shared, f.channel if f.consent is None else None)
    return Plan(
        partner=of_scope[Scope.PARTNER],
        shared=shared,
        channel=of_scope[Scope.CHANNEL],
        opposition=of_scope[Scope.OPPOSITION],
        sharing=_sharing.setdefault(alike, len(_sharing)),
    )
