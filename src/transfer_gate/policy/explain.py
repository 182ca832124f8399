"""Why: for every partner, channel and rule whether it held, failed or did not apply, with the facts that settled it.

The facts are those that the rule itself asked for: the explanation runs the rule's own condition and writes down what
it reads, so that the two can't part ways.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, Literal, cast

import msgspec
from msgspec import Struct
from pydantic import BaseModel

from transfer_gate.model.decision import PartnerDecision
from transfer_gate.model.registry import Period, Registry
from transfer_gate.model.state import Opposition, ProspectState
from transfer_gate.model.stops import NO_STOPS, ContactStop, ContactStops
from transfer_gate.model.terms import Channel, PartyId, Reason, RuleId
from transfer_gate.model.transfer import SubjectKind, Transfer
from transfer_gate.policy.catalogue import GUARD, RULES
from transfer_gate.policy.decide import decide, gate_reasons
from transfer_gate.policy.facts import Basis, Facts
from transfer_gate.policy.legal_time import utc
from transfer_gate.policy.release import project
from transfer_gate.policy.rule import Rule
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


#: Where the name of a fact in the code is not the one in rules.md.
_NAMES: Final = {
    "subject": "event.subject",
    "contact": "event.contact",
    "birth_date": "event.subject.birth_date",
    "source": "event.source",
    "bloctel": "event.bloctel",
    "proof": "consent.proof",
    "guardian": "consent.guardian",
    "act": "act(c)",
    "covers": "c covers",
    "is_press": "press",
    "own_contract": "own contract",
    "call_back_until": "call-back until",
    "is_valid_at": "consent not expired",
    "is_valid_for_a_year_at_most": "consent for a year at most",
    "left_out_as_future": "consents left out as future",
    "told_of_partner": "record that the person was told of the partner",
    "partner_role": "role of the partner",
    "standing_withdrawal": "withdrawal that stands",
    "standing_objection": "objection that stands",
    "standing_erasure": "erasure that stands",
    "standing_stop": "stop of the contact point that stands",
}


def facts_read(condition: Callable[[Facts], bool], f: Facts) -> tuple[tuple[str, object], ...]:
    """Name and value of the facts that a condition asks for, in order, each where it was asked for last.

    Contact points are shown as present or absent, attributes by name only: they are the person's.
    """
    seen: dict[str, object] = {}
    condition(cast(Facts, _Witness(f, seen)))
    return tuple(seen.items())


def plain(value: object) -> Any:
    """A fact as JSON can carry it; times are RFC 3339 in UTC."""
    if isinstance(value, dt.datetime):
        return utc(value).isoformat().replace("+00:00", "Z")
    if isinstance(value, Period):
        return {"from": plain(value.from_), "to": plain(value.to)}
    if isinstance(value, AbstractSet):
        return sorted(plain(member) for member in value)
    if isinstance(value, list | tuple):
        return [plain(member) for member in value]
    if isinstance(value, Mapping):
        return {str(key): plain(member) for key, member in value.items()}
    return msgspec.to_builtins(value)


class _Witness:
    """Stands in for `Facts` before a rule."""

    def __init__(self, f: Facts, seen: dict[str, object]) -> None:
        self._f = f
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._f, name)
        path = _NAMES.get(name, name)
        if name == "view":
            return value
        if name == "is_future":
            _noted(self._f.horizon, "latest time that is not future", self._seen)
            return value
        if callable(value):
            return lambda *arguments: _noted(value(*arguments), path, self._seen)
        return _noted(value, path, self._seen)


class _Part:
    """Stands in for an object among the facts, or for a mapping of such objects; `path` is its name."""

    def __init__(self, value: Any, path: str, seen: dict[str, object]) -> None:
        self._value = value
        self._path = path
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return _noted(getattr(self._value, name), f"{self._path}.{name.rstrip('_')}", self._seen)

    def __getitem__(self, key: str) -> Any:
        return _noted(self._value[key], f"{self._path}[{key}]", self._seen)


def _noted(value: Any, path: str, seen: dict[str, object]) -> Any:
    shown = value
    if path.startswith("event.contact."):
        shown = "absent" if value is None else "present"
    elif path == "event.attributes":
        shown = sorted(value or ())
    elif _has_parts(value) and not isinstance(value, Opposition | ContactStop):
        return _Part(value, path, seen)
    seen.pop(path, None)
    seen[path] = shown
    return value


def _has_parts(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(isinstance(member, BaseModel) for member in value.values())
    return isinstance(value, Struct | BaseModel)
