"""Why: for every partner, channel and rule whether it held, failed or did not apply, with the facts that settled it.

The facts are those that the rule itself asked for: the explanation runs the rule's own condition and writes down what
it reads, so that the two can't part ways.
"""

import datetime as dt
from typing import Final, Literal

from msgspec import Struct

from transfer_gate.model.decision import PartnerDecision
from transfer_gate.model.reasons import Reason, RuleId
from transfer_gate.model.registry import Registry
from transfer_gate.model.state import ProspectState
from transfer_gate.model.stops import NO_STOPS, ContactStops
from transfer_gate.model.terms import Channel, PartyId
from transfer_gate.model.transfer import SubjectKind, Transfer
from transfer_gate.policy.catalogue import GUARD, RULES
from transfer_gate.policy.decide import decide, gate_reasons
from transfer_gate.policy.facts import Facts
from transfer_gate.policy.kinds import Basis
from transfer_gate.policy.projection import project
from transfer_gate.policy.rule import Rule
from transfer_gate.policy.trace import facts_read
from transfer_gate.policy.view import view_of
from transfer_gate.policy.written import as_written

Verdict = Literal["held", "failed", "not applicable", "raised"]

_MARKS: Final = {"p": "partner file", "c": "relevant consent", "n": "notice"}


class Finding(Struct, frozen=True, kw_only=True):
    """What one rule says of one channel.

    `facts` are name and value, in the order in which the rule asked for them: where it failed, the last one settled it.
    `why` says in words why the rule does not apply.
    """

    rule: RuleId
    verdict: Verdict
    title: str
    reference: str
    status: str
    facts: tuple[tuple[str, object], ...] = ()
    why: str = ""


class ChannelExplanation(Struct, frozen=True, kw_only=True):
    """One channel: what it was taken for, the outcome, and every rule in the order of rules.md."""

    channel: Channel
    released: bool
    reasons: tuple[Reason, ...]
    kind: SubjectKind
    basis: Basis
    consent: str | None
    notice: str | None
    gate: tuple[Reason, ...]
    rules: tuple[Finding, ...]


class Explanation(Struct, frozen=True, kw_only=True):
    """One partner: the decision and how each channel came to it."""

    partner_id: PartyId
    decision: PartnerDecision
    channels: tuple[ChannelExplanation, ...]


def explain(
    transfer: Transfer,
    state: ProspectState,
    registry: Registry,
    now: dt.datetime,
    stops: ContactStops = NO_STOPS,
) -> tuple[Explanation, ...]:
    """The decision at `now` (UTC) with its explanation, for each partner of the transfer in order."""
    view = view_of(registry)
    explanations = []
    for decision in decide(transfer, state, registry, now, stops):
        f = Facts(view, transfer, state, now, stops)
        f.turn_to(decision.partner_id)
        notices = []
        for channel in decision.released:
            f.look_at(channel)
            notices.append(f.notice)
        f.payload = project(f, decision.released, notices) if decision.released else None
        channels = tuple(_of_channel(f, channel, decision) for channel in transfer.channels)
        explanations.append(Explanation(partner_id=decision.partner_id, decision=decision, channels=channels))
    return tuple(explanations)


def _of_channel(f: Facts, channel: Channel, decision: PartnerDecision) -> ChannelExplanation:
    f.look_at(channel)
    return ChannelExplanation(
        channel=channel,
        released=channel in decision.released,
        reasons=decision.quarantined.get(channel, ()),
        kind=f.kind,
        basis=f.basis,
        consent=f.consent.record_id if f.consent else None,
        notice=f.notice.version if f.notice else None,
        gate=tuple(gate_reasons(f)),
        rules=tuple(_finding(rule, f) for rule in RULES),
    )


def _finding(rule: Rule, f: Facts) -> Finding:
    verdict: Verdict
    facts: tuple[tuple[str, object], ...] = ()
    try:
        why = why_not(rule, f)
        verdict = "not applicable" if why else "held" if rule.holds(f) else "failed"
        if not why and rule is not GUARD:
            facts = facts_read(as_written(rule.id).holds, f)
    except Exception as error:  # noqa: BLE001 - the explanation of a defect must not be a defect
        verdict, why = "raised", f"the rule raised {type(error).__name__}: a defect of the gate"
    return Finding(
        rule=rule.id,
        verdict=verdict,
        title=rule.title,
        reference=rule.reference,
        status=rule.status.value,
        facts=facts,
        why=why,
    )


def why_not(rule: Rule, f: Facts) -> str:
    """Why the rule does not apply to what `f` looks at; empty when it does."""
    if f.channel not in rule.channels:
        return f"not for {f.channel}"
    if f.kind not in rule.kinds:
        return f"not for a {f.kind.replace('_', ' ')}"
    marks = rule.bases.get(f.basis)
    if marks is None:
        return f"not on the basis {f.basis.replace('_', ' ')}"
    missing = {"p": f.partner, "c": f.consent, "n": f.notice}
    absent = [_MARKS[mark] for mark in ("p", "c", "n") if mark in marks and missing[mark] is None]
    if absent:
        return f"there is no {' and no '.join(absent)}, which another rule reports"
    if not rule.in_force(f.t, f.w):
        return f"in force {rule.dates()}"
    if rule.when is not None and not rule.when(f):
        return f"only where {rule.when_words}"
    return ""
