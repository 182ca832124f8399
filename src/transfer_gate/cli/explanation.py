"""How `policy explain` shows an explanation: as text for people, as JSON for programs."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from transfer_gate.policy.explain import ChannelExplanation, Explanation, Finding
from transfer_gate.policy.trace import plain
from transfer_gate.printable import without_contacts

#: From the law's words to the reader's: how much weight a rule has.
STATUS = {"S": "settled", "C": "contested", "H": "house policy"}


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
