"""How `quarantine explain` tells of one record: the rules then and now, channel by channel."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from transfer_gate.cli import acts
from transfer_gate.cli.explanation import as_json, as_text
from transfer_gate.cli.render import echo, echo_json
from transfer_gate.gate.redecision import Redecision
from transfer_gate.kafka.session import Session
from transfer_gate.model.state import EMPTY
from transfer_gate.policy.catalogue import RULES
from transfer_gate.quarantine.consent_states import states_of
from transfer_gate.quarantine.payloads import master_keys, owners, payload_of, with_original
from transfer_gate.quarantine.redecide import decision_behind, redecide
from transfer_gate.quarantine.search import Found
from transfer_gate.records.decisions import DecisionRecord
from transfer_gate.registry import load_registry

_TITLES: Mapping[str, str] = {str(rule.id): f"{rule.title} [{rule.reference}]" for rule in RULES}
_NEVER_A_DECISION = "an unreadable consent event is no transfer: settle it with `transfer-gate consent resolve`"


async def explain_record(session: Session, one: Found, why: str | None, output: Literal["table", "json"]) -> None:
    """Print the rules then and now; `why` adds the facts, once that stands in the audit topic."""
    registry = load_registry(session.settings.registry)
    now = dt.datetime.now(dt.UTC)
    evidence = await decision_behind(session, one)
    fresh, unknown = None, _NEVER_A_DECISION
    if one.held.stage != "consent":
        states = await states_of(session, owners([one]))
        payload = await with_original(session, one, payload_of(one, states, master_keys(session.settings)))
        unknown = f"the payload is {payload.condition}: {payload.why}"
        if payload.readable:
            key = one.record.key if payload.original is None else payload.original.key
            state = states.get((one.record.partition, key or b""), EMPTY)
            fresh = redecide(one.held, key, payload, state, registry, now)
    if why is not None:
        details = {"quarantine_id": one.held.quarantine_id, "facts": fresh is not None}
        await acts.record(session, "quarantine explain", "revealed", why=why, details=details)
    told = {
        "quarantine_id": one.held.quarantine_id,
        "state": one.state,
        "attempt": one.held.attempt,
        "then": _then(one, evidence),
        "now": None if fresh is None else _now(fresh, registry.revision, now, facts=why is not None),
        "no_now": unknown if fresh is None else None,
    }
    if output == "json":
        echo_json(told)
        return
    for line in _lines(told):
        echo(line)
    if why is not None and fresh is not None:
        for line in as_text(fresh.explanations):
            echo(line)


def _then(one: Found, evidence: DecisionRecord | None) -> dict[str, Any]:
    """What is known of the decision that held it: of the decision record, else of the headers."""
    held = one.held
    reasons = evidence.quarantined if evidence else held.reasons
    return {
        "from": "decision record" if evidence else "headers",
        "decision_id": held.decision_id,
        "at": held.quarantined_at,
        "revision": held.revision,
        "gate_version": evidence.policy.gate_version if evidence else None,
        "consent": {
            "offset": held.consent_offset,
            "record_ids": list(evidence.consent.record_ids) if evidence else None,
        },
        "released": list(evidence.released) if evidence else None,
        "quarantined": {str(channel): list(why) for channel, why in reasons.items()},
        "rule_errors": list(evidence.rule_errors) if evidence else [],
    }


def _now(fresh: Redecision, revision: str, now: dt.datetime, *, facts: bool) -> dict[str, Any]:
    partners = as_json(fresh.explanations)
    if not facts:
        for partner in partners:
            for channel in partner["channels"]:
                for rule in channel["rules"]:
                    del rule["facts"]
    return {
        "at": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "revision": revision,
        "quarantined": {channel: list(reasons) for channel, reasons in fresh.reasons.items()},
        "partners": partners,
    }


def _lines(told: dict[str, Any]) -> Iterator[str]:
    then, now = told["then"], told["now"]
    yield f"{told['quarantine_id']}  {told['state']}, attempt {told['attempt']}"
    gate = f", gate {then['gate_version']}" if then["gate_version"] else ""
    yield f"then  {then['at']}, registry {then['revision']}{gate} (from the {then['from']})"
    if now is None:
        yield f"now   can't be told: {told['no_now']}"
    else:
        yield f"now   {now['at']}, registry {now['revision']}"
    if then["released"]:
        yield f"released then: {', '.join(then['released'])}"
    outcomes = _by_channel(now)
    named: dict[str, None] = {}
    for partner in sorted({partner for partner, _ in outcomes}) or [""]:
        if partner:
            yield partner
        channels = [*then["quarantined"], *(channel for of, channel in outcomes if of == partner)]
        for channel in dict.fromkeys(channels):
            before = then["quarantined"].get(channel)
            if before is not None:
                yield f"  {channel:<16} then  held: {', '.join(before)}"
            after = outcomes.get((partner, channel))
            if after is not None:
                outcome = f"held: {', '.join(after)}" if after else "released"
                yield f"  {'' if before else channel:<16} now   {outcome}"
            named.update(dict.fromkeys((*(before or ()), *(after or ()))))
    for reason in named:
        yield f"{reason}: {_TITLES.get(reason, 'a reason of the gate itself, before all rules')}"


def _by_channel(now: dict[str, Any] | None) -> dict[tuple[str, str], Sequence[str]]:
    """(partner, channel) to the reasons of now; none where it would be released."""
    if now is None:
        return {}
    found: dict[tuple[str, str], Sequence[str]] = {("", channel): why for channel, why in now["quarantined"].items()}
    for partner in now["partners"]:
        for channel in partner["channels"]:
            found[partner["partner_id"], channel["channel"]] = channel["reasons"]
    return found
