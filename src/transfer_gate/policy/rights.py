"""Rules about the person's rights: erasure, restriction, objection, withdrawal (definitions: rules.md 1.4)."""

from transfer_gate.policy.facts import Facts
from transfer_gate.policy.rule import Scope, rule


@rule(
    "not-erased-or-restricted",
    title="The person asked neither for erasure nor for restriction",
    reference="GDPR 17, 18",
    scope=Scope.OPPOSITION,
)
def not_erased_or_restricted(f: Facts) -> bool:
    """No erasure stands; the prospect is not restricted."""
    return f.standing_erasure is None and not f.restricted


@rule(
    "not-objected",
    title="No objection stands",
    reference="GDPR 21(2)–(3)",
    scope=Scope.OPPOSITION,
)
def not_objected(f: Facts) -> bool:
    """No objection stands for the channel, the partner and the purpose."""
    return f.standing_objection is None


@rule(
    "contact-not-stopped",
    title="No stop stands against the address or the number, whoever's prospect it is",
    reference="GDPR 21(2)–(3), 7(3); opposition registers",
    scope=Scope.OPPOSITION,
)
def contact_not_stopped(f: Facts) -> bool:
    """No stop of the channel's contact point stands for the channel, the partner and the purpose."""
    return f.standing_stop is None


@rule(
    "not-withdrawn",
    title="No withdrawal of consent stands; where consent is not the basis it counts as an objection",
    reference="GDPR 7(3); L223-1, R223-3 C. conso.",
    scope=Scope.OPPOSITION,
)
def not_withdrawn(f: Facts) -> bool:
    """No withdrawal, and no refused consent, stands for the channel, the partner and the purpose."""
    return f.standing_withdrawal is None
