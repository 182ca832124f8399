"""How `policy explain --decision` shows a decision that was taken: what was recorded, and what the rules say to it."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import replace

from transfer_gate import __version__
from transfer_gate.auditor.evidence import Evidence
from transfer_gate.cli.explanation import STATUS, as_json, as_text
from transfer_gate.gate.redecision import explain_again
from transfer_gate.model.reasons import Reason
from transfer_gate.model.registry import Registry
from transfer_gate.policy.catalogue import RULES
from transfer_gate.policy.explain import Explanation
from transfer_gate.policy.rule import Rule
from transfer_gate.policy.trace import plain
from transfer_gate.policy.written import as_written
from transfer_gate.printable import without_contacts
from transfer_gate.records.decisions import ANY_CHANNEL

#: What the reasons of the gate itself mean, for those who have only the record.
GATE_REASONS: Final[dict[str, str]] = {
    "undecodable": "the record was not JSON in UTF-8",
    "schema-invalid": "the record was not a transfer",
    "too-large": "the record was larger than what the gate can write, and is kept by reference",
    "key-mismatch": "the key of the record was not its prospect_id",
    "key-misplaced": "the record was in another partition than its key's",
    "prospect-unidentified": "the prospect_id stands for nobody",
    "history-overflow": "the prospect has more consent events than the gate keeps of one person",
    "consent-unreadable": "a consent event of the prospect could not be read, and might have been a withdrawal",
    "partner-unknown": "the registry has no file of the partner",
    "partner-paused": "the partner's file says that it is paused",
    "partner-recall-overdue": "the partner has not acknowledged a suppression in time",
    "rule-error": "a rule raised: a defect of the gate",
}
_RULES: Final[dict[str, Rule]] = {rule.id: rule for rule in RULES}


class Recorded:
    """One decision of the past under `registry`, as of `at`, or else as of its own time."""

    def __init__(self, evidence: Evidence, registry: Registry, at: dt.datetime | None) -> None:
        self._record = record = evidence.record
        self._at = at or record.decided_at
        self._registry = registry
        self._explanations: tuple[Explanation, ...] | None = None
        if evidence.source is not None:
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
        """The same, complete, as one object."""
        record = self._record
        return {
            "decision_id": record.decision_id,
            "event_id": without_contacts(record.event_id or "") or None,
            "at": plain(self._at),
            "policy": {"jurisdiction": self._registry.policy.jurisdiction, "revision": self._registry.revision},
            "recorded": {
                "decided_at": plain(record.decided_at),
                "source": plain(record.source),
                "partner_id": without_contacts(record.partner_id or "") or None,
                "released": list(record.released),
                "quarantined": {channel: list(reasons) for channel, reasons in record.quarantined.items()},
                "consent": plain(record.consent),
                "policy": plain(record.policy),
                "attempt": record.attempt,
                "replay_run": record.replay_run,
                "rule_errors": list(record.rule_errors),
            },
            "explained_from": "decision record" if self._explanations is None else "topics",
            "notes": self._notes,
            "partners": self._from_record() if self._explanations is None else as_json(self._explanations),
        }

    def _from_record(self) -> list[dict[str, Any]]:
        record = self._record
        outcomes: dict[str, tuple[Reason, ...]] = {**dict.fromkeys(record.released, ()), **record.quarantined}
        return [
            {
                "partner_id": without_contacts(record.partner_id or "") or None,
                "released": list(record.released),
                "quarantined": {channel: list(reasons) for channel, reasons in record.quarantined.items()},
                "channels": [
                    {
                        "channel": channel,
                        "released": channel in record.released,
                        "reasons": list(reasons),
                        "rules": [_failed(_RULES[reason]) for reason in reasons if reason in _RULES],
                    }
                    for channel, reasons in outcomes.items()
                ],
            }
        ]


def _masked(explanations: tuple[Explanation, ...]) -> tuple[Explanation, ...]:
    """Without the day of birth: unlike a file that somebody has, the broker's records are everybody's business."""
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
