"""How quarantined records are printed: lists as they are found, counts, a record with its attempts, its decisions."""

import datetime as dt
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from transfer_gate.cli.explanation import as_json, as_text
from transfer_gate.cli.render import columns, echo, echo_json
from transfer_gate.errors import NothingMatched
from transfer_gate.gate.replays import Redecision
from transfer_gate.kafka.session import Session
from transfer_gate.model.state import EMPTY
from transfer_gate.operators import audit_event, record_audit_events
from transfer_gate.policy.catalogue import RULES
from transfer_gate.printable import without_contacts
from transfer_gate.quarantine.consent_states import states_of
from transfer_gate.quarantine.export import described, shared_domains, shown
from transfer_gate.quarantine.payloads import (
    Payload,
    decision_behind,
    master_keys,
    owners,
    payload_of,
    payloads_of,
    redecide,
    with_original,
)
from transfer_gate.quarantine.search import Found, Life, Place
from transfer_gate.records.decisions import DecisionRecord
from transfer_gate.records.ledger import OPEN
from transfer_gate.records.masking import MASK
from transfer_gate.registry import load_registry

Shown = tuple[dict[str, Any], Iterator[str]]
"""What is printed as JSON, and as lines."""

#: Columns of the table and their widths; lines are written as they are found, so widths can't follow what is found.
_COLUMNS: Final = (
    ("quarantine id", 36),
    ("place", 12),
    ("quarantined (UTC)", 19),
    ("try", 3),
    ("state", 10),
    ("partner", 20),
    ("channels", 14),
    ("reasons", 0),
)
_TITLES: Final[Mapping[str, str]] = {str(rule.id): f"{rule.title} [{rule.reference}]" for rule in RULES}


async def print_page(found: AsyncIterator[Found], most: int | None, output: str, *, reveal: bool) -> Place | None:
    """Print up to `most` records; returns the place of the last if there is more. Raises NothingMatched."""
    titles, widths = zip(*((*_COLUMNS[:-1], ("prospect", 20), _COLUMNS[-1]) if reveal else _COLUMNS), strict=True)
    page: list[dict[str, Any]] = []
    count, last, following = 0, None, None
    async for record in found:
        if count == most:
            following = last
            break
        count += 1
        last = Place(record.record.partition, record.record.offset)
        row = described(record, reveal=reveal)
        if output == "json":
            page.append(row)
        elif output == "jsonl":
            echo_json(row, indent=None)
        else:
            if count == 1:
                echo(columns(titles, widths))
            echo(columns(_cells(row, reveal), widths))
    if not count:
        raise _nothing()
    if output == "json":
        echo_json({"records": page, "next": None if following is None else str(following)})
    return following


def _cells(row: dict[str, Any], reveal: bool) -> list[str]:
    reasons = dict.fromkeys(reason for of_channel in row["reasons"].values() for reason in of_channel)
    cells = [
        row["quarantine_id"],
        row["place"],
        row["quarantined_at"][:19],
        str(row["attempt"]),
        row["state"],
        row["partner"] or "-",
        ",".join(row["channels"]) or "-",
    ]
    return [*cells, *([row["prospect_id"] or "-"] if reveal else []), ", ".join(reasons)]


async def tally(found: AsyncIterator[Found]) -> Shown:
    """Records and open records by partner and first reason, the greatest first. Raises NothingMatched."""
    records: Counter[tuple[str, str]] = Counter()
    still_open: Counter[tuple[str, str]] = Counter()
    async for record in found:
        about = (without_contacts(record.held.partner_id or ""), record.held.reason)
        records[about] += 1
        still_open[about] += record.state == OPEN
    if not records:
        raise _nothing()
    rows = [
        {"partner": partner or None, "reason": reason, "records": count, "open": still_open[partner, reason]}
        for (partner, reason), count in sorted(records.items(), key=lambda pair: -pair[1])
    ]
    return {"counts": rows}, _tally_lines(rows)


def _tally_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield f"{'partner':<24} {'first reason':<32} {'records':>10} {'open':>10}"
    for row in rows:
        partner = row["partner"] or "(could not be read)"
        yield f"{partner:<24} {row['reason']:<32} {row['records']:>10,} {row['open']:>10,}"


def _nothing() -> NothingMatched:
    return NothingMatched("nothing in quarantine matches", do="widen the filter; times are those of the broker's clock")


async def whole_record(session: Session, life: Life, why: str | None) -> Shown:
    """A record with its attempts, ledger entry and payload; `why` reveals it, once the audit topic has that."""
    newest = life.attempts[-1]
    (kept,) = await payloads_of(session, [newest])
    payload = await with_original(session, newest, kept)
    if why is not None:
        details = {"quarantine_id": newest.held.quarantine_id, "payload": payload.condition}
        await record_audit_events(
            session, [audit_event(session.settings, "quarantine show", "revealed", why=why, details=details)]
        )
    view = _record_view(life, payload, shared_domains(session.settings), reveal=why is not None)
    return view, _record_lines(view)


def _record_view(life: Life, payload: Payload, domains: frozenset[str], *, reveal: bool) -> dict[str, Any]:
    newest = life.attempts[-1]
    inbound = [
        {"name": name, "value": (value or b"").decode(errors="backslashreplace") if reveal else MASK}
        for name, value in newest.held.inbound
    ]
    return {
        "quarantine_id": newest.held.quarantine_id,
        "state": newest.state,
        "ledger": None if life.entry is None else msgspec.to_builtins(life.entry),
        "attempts": [described(attempt, reveal=reveal) for attempt in life.attempts],
        "inbound_headers": inbound,
        "payload": {
            "condition": payload.condition,
            "why": payload.why or None,
            "masked": not reveal,
            "value": shown(payload, domains, reveal=reveal),
        },
    }


def _record_lines(view: dict[str, Any]) -> Iterator[str]:
    newest = view["attempts"][-1]
    yield f"{view['quarantine_id']}  {view['state']}"
    for name in ("stage", "partner", "prospect_id", "policy_revision", "consent_offset", "decision_id"):
        yield f"  {name:<18} {'-' if newest[name] is None else newest[name]}"
    source = newest["source"]
    yield f"  {'source':<18} {source['topic']} {source['partition']}:{source['offset']} of {source['time'] or '-'}"
    for header in view["inbound_headers"]:
        yield f"  {'inbound header':<18} {header['name']} = {header['value']}"
    for attempt in view["attempts"]:
        run = f", replay {attempt['replay_run']}" if attempt["replay_run"] else ""
        yield f"attempt {attempt['attempt']} at {attempt['place']}, held {attempt['quarantined_at']}{run}"
        for channel, reasons in attempt["reasons"].items():
            yield f"  {channel:<18} {', '.join(reasons)}"
    yield from _ledger(view["ledger"])
    yield from _payload(view["payload"], encrypted=newest["encrypted"])


def _ledger(entry: dict[str, Any] | None) -> Iterator[str]:
    if entry is None:
        yield "ledger: nothing has happened to it since"
        return
    facts = [f"ledger: {entry['state']}, attempt {entry['attempt']}, at {entry['at']}"]
    facts += [f"{name} {entry[name]}" for name in ("run", "why") if entry.get(name)]
    if entry.get("released"):
        facts.append(f"released {', '.join(entry['released'])}")
    yield ", ".join(facts)
    for part in entry.get("split", ()):
        yield f"  became {part}"


def _payload(payload: dict[str, Any], *, encrypted: bool) -> Iterator[str]:
    kept = "encrypted" if encrypted else "by reference" if payload["condition"] == "by-reference" else "not encrypted"
    if payload["why"]:
        yield f"payload ({kept}): {payload['condition']}: {payload['why']}"
        return
    yield f"payload ({kept}{', masked' if payload['masked'] else ''}):"
    if payload["value"] is None:
        yield "  (none: the source record had no value)"
    elif isinstance(payload["value"], str):
        yield f"  {payload['value']}"
    else:
        yield from (f"  {line}" for line in json.dumps(payload["value"], ensure_ascii=False, indent=2).splitlines())


async def explained_record(session: Session, life: Life, why: str | None) -> Shown:
    """The rules then and now, channel by channel; `why` adds the facts, once the audit topic has that."""
    newest = life.attempts[-1]
    registry = load_registry(session.settings.registry)
    now = dt.datetime.now(dt.UTC)
    evidence = await decision_behind(session, newest)
    fresh = None
    unknown = "an unreadable consent event is no transfer: settle it with `transfer-gate consent resolve`"
    if newest.held.stage != "consent":
        states = await states_of(session, owners([newest]))
        payload = await with_original(session, newest, payload_of(newest, states, master_keys(session.settings)))
        unknown = f"the payload is {payload.condition}: {payload.why}"
        if payload.readable:
            key = newest.record.key if payload.original is None else payload.original.key
            state = states.get((newest.record.partition, key or b""), EMPTY)
            fresh = redecide(newest.held, key, payload, state, registry, now)
    if why is not None:
        details = {"quarantine_id": newest.held.quarantine_id, "facts": fresh is not None}
        await record_audit_events(
            session, [audit_event(session.settings, "quarantine explain", "revealed", why=why, details=details)]
        )
    view = {
        "quarantine_id": newest.held.quarantine_id,
        "state": newest.state,
        "attempt": newest.held.attempt,
        "then": _then(newest, evidence),
        "now": None if fresh is None else _now(fresh, registry.revision, now, facts=why is not None),
        "no_now": unknown if fresh is None else None,
    }
    facts = as_text(fresh.explanations) if why is not None and fresh is not None else ()
    return view, chain(_explanation_lines(view), facts)


def _then(newest: Found, evidence: DecisionRecord | None) -> dict[str, Any]:
    """The decision that quarantined it: by the decision record, else by the headers."""
    held = newest.held
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


def _explanation_lines(view: dict[str, Any]) -> Iterator[str]:
    then, now = view["then"], view["now"]
    yield f"{view['quarantine_id']}  {view['state']}, attempt {view['attempt']}"
    gate = f", gate {then['gate_version']}" if then["gate_version"] else ""
    yield f"then  {then['at']}, registry {then['revision']}{gate} (from the {then['from']})"
    if now is None:
        yield f"now   not known: {view['no_now']}"
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
