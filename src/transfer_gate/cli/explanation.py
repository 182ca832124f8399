"""How a decision is shown, as text for people and as JSON for programs: rule by rule, with the facts; a decision of the
past also by what was recorded of it.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from transfer_gate import __version__
from transfer_gate.model.registry import Registry
from transfer_gate.model.terms import Reason
from transfer_gate.policy.catalogue import RULES
from transfer_gate.policy.explain import ChannelExplanation, Explanation, Finding, plain
from transfer_gate.policy.rule import Rule
from transfer_gate.policy.written import as_written
from transfer_gate.printable import without_contacts
from transfer_gate.records.decisions import ANY_CHANNEL

if TYPE_CHECKING:
    from transfer_gate.auditor.evidence import Evidence

#: From the marks of the rules to words: how much weight a rule has.
STATUS: Final = {"S": "settled", "C": "contested", "H": "house policy"}


#: What the reasons of the gate itself mean, for an explanation by the record alone.
GATE_REASONS: Final[dict[str, str]] = {
    "undecodable": "the record was not JSON in UTF-8",
    "schema-invalid": "the record was not a transfer",
    "too-large": "the record was larger than what the gate can write, and is kept by reference",
    "key-mismatch": "the key of the record was not its prospect_id",
    "key-misplaced": "the record was in another partition than its key's",
    "prospect-unidentified": "the prospect_id identifies no person",
    "history-overflow": "the prospect has more consent events than the gate keeps of one person",
    "consent-unreadable": "a consent event of the prospect could not be read, and might have been a withdrawal",
    "partner-unknown": "the registry has no file of the partner",
    "partner-paused": "the partner's file says that it is paused",
    "partner-on-rehearsal": "the partner is on rehearsal, and this is no invented person, by id and contact points",
    "partner-recall-overdue": "the partner has not acknowledged a suppression in time",
    "rule-error": "a rule raised: a defect of the gate",
}
_RULES: Final[dict[str, Rule]] = {rule.id: rule for rule in RULES}


def as_text(explanations: Sequence[Explanation]) -> Iterator[str]:
    """Lines: per partner and channel the outcome, then what failed, held, and did not apply."""
    for explanation in explanations:
        yield without_contacts(explanation.partner_id)
        for channel in explanation.channels:
            yield from _channel(channel)
        if explanation.decision.release is not None:
            obligations = plain(msgspec.to_builtins(explanation.decision.release.obligations))
            yield "  to respect: " + "; ".join(f"{name} = {value}" for name, value in obligations.items())
        yield ""


def as_json(explanations: Sequence[Explanation]) -> list[dict[str, Any]]:
    """The same, complete, as plain objects; without contact points and attributes, which are the person's."""
    return [
        {
            "partner_id": without_contacts(explanation.partner_id),
            "released": list(explanation.decision.released),
            "quarantined": {channel: list(held) for channel, held in explanation.decision.quarantined.items()},
            "obligations": plain(
                msgspec.to_builtins(explanation.decision.release.obligations) if explanation.decision.release else None
            ),
            "channels": [_as_json(channel) for channel in explanation.channels],
        }
        for explanation in explanations
    ]


def _as_json(channel: ChannelExplanation) -> dict[str, Any]:
    return {
        "channel": channel.channel,
        "released": channel.released,
        "reasons": list(channel.reasons),
        "kind": channel.kind,
        "basis": channel.basis,
        "consent_record": channel.consent,
        "notice": channel.notice,
        "rules": [
            {
                "rule": finding.rule,
                "verdict": finding.verdict,
                "title": finding.title,
                "reference": finding.reference,
                "status": STATUS[finding.status],
                "facts": {name: plain(value) for name, value in finding.facts},
                "why_not": finding.why or None,
            }
            for finding in channel.rules
        ],
    }


def _channel(channel: ChannelExplanation) -> Iterator[str]:
    yield f"  {channel.channel}: {'released' if channel.released else 'held: ' + ', '.join(channel.reasons)}"
    seen = [
        f"a {channel.kind.replace('_', ' ')}",
        "no legal basis needed" if channel.basis == "none" else f"basis {channel.basis.replace('_', ' ')}",
        f"consent record {channel.consent}" if channel.consent else "no relevant consent",
        f"notice {channel.notice}" if channel.notice else "no notice",
    ]
    yield f"    seen as: {'; '.join(seen)}"
    for reason in channel.gate:
        yield f"    FAILED  {reason} (the gate itself)"
    by_verdict = {
        verdict: [finding for finding in channel.rules if finding.verdict == verdict]
        for verdict in ("raised", "failed", "held", "not applicable")
    }
    for finding in (*by_verdict["raised"], *by_verdict["failed"]):
        yield f"    FAILED  {finding.rule} - {finding.title} [{finding.reference}; {STATUS[finding.status]}]"
        yield f"            {finding.why or _facts(finding)}"
    for finding in by_verdict["held"]:
        yield f"    held    {finding.rule} [{finding.reference}]: {_facts(finding)}"
    for finding in by_verdict["not applicable"]:
        yield f"    n/a     {finding.rule}: {finding.why.replace('*', '').replace('`', '')}"


def _facts(finding: Finding) -> str:
    return "; ".join(f"{name} = {_written(plain(value))}" for name, value in finding.facts) or "nothing to look at"


def _written(value: Any) -> str:
    if value is None:
        return "absent"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_written(member)}' for key, member in value.items())}}}"
    return str(value)


class Recorded:
    """One decision of the past under `registry`, as of `at`, or else as of its own time."""

    def __init__(self, evidence: "Evidence", registry: Registry, at: dt.datetime | None) -> None:
        self._record = record = evidence.record
        self._at = at or record.decided_at
        self._registry = registry
        self._explanations: tuple[Explanation, ...] | None = None
        if evidence.source is not None:
            from transfer_gate.gate.replays import explain_again  # a transfer in a file needs no Kafka

            again = explain_again(evidence.source, evidence.only, evidence.state, registry, self._at)
            self._explanations = _masked(again.explanations) or None
        self._notes = [*evidence.doubts, *self._differences()]

    def _differences(self) -> Iterator[str]:
        """What may make this explanation another than the decision."""
        record = self._record
        if record.policy.revision != self._registry.revision:
            yield f"decided under registry {record.policy.revision}, explained under {self._registry.revision}"
        if record.policy.gate_version != __version__:
            yield f"decided by version {record.policy.gate_version}, explained by {__version__}"
        if self._explanations is None:
            yield "explained from the decision record alone: the reasons without the facts"
            return
        decision = self._explanations[0].decision
        if (decision.released, decision.quarantined) != (record.released, record.quarantined):
            yield f"the rules say otherwise than what was decided then: {_outcome(record.released, record.quarantined)}"

    def as_text(self) -> Iterator[str]:
        """Lines: what was decided and when, what is missing, then the explanation."""
        record, source = self._record, self._record.source
        yield (
            f"decision {record.decision_id} of {plain(record.decided_at)}, attempt {record.attempt}, "
            f"on {source.topic}/{source.partition} offset {source.offset}"
        )
        event = (
            f"transfer {without_contacts(record.event_id)}" if record.event_id else "a record that could not be read"
        )
        consent = f"consent events below offset {record.consent.offset}"
        yield f"{event} as of {plain(self._at)}, registry {self._registry.revision}, {consent}"
        for rule in record.rule_errors:
            yield f"note: the rule {rule} raised then"
        for note in self._notes:
            yield f"note: {note}"
        if self._explanations is not None:
            yield from as_text(self._explanations)
            return
        yield without_contacts(record.partner_id or "no partner")
        for released in record.released:
            yield f"  {released}: released"
            yield "    every rule that applied held"
        for channel, reasons in record.quarantined.items():
            yield f"  {'the whole record' if channel == ANY_CHANNEL else channel}: held: {', '.join(reasons)}"
            for reason in reasons:
                yield from _from_record(reason)
        yield ""

    def as_json(self) -> dict[str, Any]:
        """The same, complete, as an object."""
        record = self._record
        outcome = {
            "partner_id": without_contacts(record.partner_id or "") or None,
            "released": list(record.released),
            "quarantined": {channel: list(reasons) for channel, reasons in record.quarantined.items()},
        }
        alone = [outcome | {"channels": self._channels()}] if self._explanations is None else None
        return {
            "decision_id": record.decision_id,
            "event_id": without_contacts(record.event_id or "") or None,
            "at": plain(self._at),
            "policy": {"jurisdiction": self._registry.policy.jurisdiction, "revision": self._registry.revision},
            "recorded": {
                "decided_at": plain(record.decided_at),
                "source": plain(record.source),
                **outcome,
                "consent": plain(record.consent),
                "policy": plain(record.policy),
                "attempt": record.attempt,
                "replay_run": record.replay_run,
                "rule_errors": list(record.rule_errors),
            },
            "explained_from": "topics" if alone is None else "decision record",
            "notes": self._notes,
            "partners": as_json(self._explanations or ()) if alone is None else alone,
        }

    def _channels(self) -> list[dict[str, Any]]:
        record = self._record
        outcomes: dict[str, tuple[Reason, ...]] = {**dict.fromkeys(record.released, ()), **record.quarantined}
        return [
            {
                "channel": channel,
                "released": channel in record.released,
                "reasons": list(reasons),
                "rules": [_failed(_RULES[reason]) for reason in reasons if reason in _RULES],
            }
            for channel, reasons in outcomes.items()
        ]


def _masked(explanations: tuple[Explanation, ...]) -> tuple[Explanation, ...]:
    """Without the day of birth: unlike the caller's own file, records of the broker are about anyone."""
    return tuple(
        replace(
            explanation,
            channels=tuple(
                replace(channel, rules=tuple(replace(f, facts=tuple(map(_mask, f.facts))) for f in channel.rules))
                for channel in explanation.channels
            ),
        )
        for explanation in explanations
    )


def _mask(fact: tuple[str, object]) -> tuple[str, object]:
    name, value = fact
    return (name, "present") if name == "event.subject.birth_date" and value is not None else fact


def _from_record(reason: Reason) -> Iterator[str]:
    if reason not in _RULES:
        yield f"    FAILED  {reason} (the gate itself): {GATE_REASONS[reason]}"
        return
    rule = _RULES[reason]
    yield f"    FAILED  {rule.id} - {rule.title} [{rule.reference}; {STATUS[rule.status]}]"
    yield f"            asks: {as_written(rule.id).words}"


def _failed(rule: Rule) -> dict[str, str]:
    return {
        "rule": rule.id,
        "verdict": "failed",
        "title": rule.title,
        "reference": rule.reference,
        "status": STATUS[rule.status],
        "asks": as_written(rule.id).words,
    }


def _outcome(released: tuple[str, ...], quarantined: Any) -> str:
    held = "; ".join(f"{channel} held: {', '.join(reasons)}" for channel, reasons in quarantined.items())
    return "; ".join(part for part in (f"{', '.join(released)} released" if released else "", held) if part)
