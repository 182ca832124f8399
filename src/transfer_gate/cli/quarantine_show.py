"""How `quarantine show` tells of one record."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from transfer_gate.cli import acts
from transfer_gate.cli.render import echo, echo_json
from transfer_gate.kafka.session import Session
from transfer_gate.quarantine.export import described, shared_domains, shown
from transfer_gate.quarantine.payloads import Payload, payloads_of, with_original
from transfer_gate.quarantine.search import Life
from transfer_gate.records.masking import MASK


async def show_record(session: Session, life: Life, why: str | None, output: Literal["table", "json"]) -> None:
    """Print a record; `why` reveals it, once that stands in the audit topic."""
    newest = life.attempts[-1]
    (kept,) = await payloads_of(session, [newest])
    payload = await with_original(session, newest, kept)
    if why is not None:
        details = {"quarantine_id": newest.held.quarantine_id, "payload": payload.condition}
        await acts.record(session, "quarantine show", "revealed", why=why, details=details)
    told = _told(life, payload, shared_domains(session.settings), reveal=why is not None)
    if output == "json":
        echo_json(told)
    else:
        for line in _lines(told):
            echo(line)


def _told(life: Life, payload: Payload, domains: frozenset[str], *, reveal: bool) -> dict[str, Any]:
    newest = life.attempts[-1]
    inbound = [
        {"name": name, "value": (value or b"").decode(errors="backslashreplace") if reveal else MASK}
        for name, value in newest.held.inbound
    ]
    return {
        "quarantine_id": newest.held.quarantine_id,
        "state": newest.state,
        "ledger": None if life.entry is None else msgspec.to_builtins(life.entry),
        "attempts": [described(one, reveal=reveal) for one in life.attempts],
        "inbound_headers": inbound,
        "payload": {
            "condition": payload.condition,
            "why": payload.why or None,
            "masked": not reveal,
            "value": shown(payload, domains, reveal=reveal),
        },
    }


def _lines(told: dict[str, Any]) -> Iterator[str]:
    newest = told["attempts"][-1]
    yield f"{told['quarantine_id']}  {told['state']}"
    for name in ("stage", "partner", "prospect_id", "policy_revision", "consent_offset", "decision_id"):
        yield f"  {name:<18} {'-' if newest[name] is None else newest[name]}"
    source = newest["source"]
    yield f"  {'source':<18} {source['topic']} {source['partition']}:{source['offset']} of {source['time'] or '-'}"
    for header in told["inbound_headers"]:
        yield f"  {'inbound header':<18} {header['name']} = {header['value']}"
    for attempt in told["attempts"]:
        run = f", replay {attempt['replay_run']}" if attempt["replay_run"] else ""
        yield f"attempt {attempt['attempt']} at {attempt['place']}, held {attempt['quarantined_at']}{run}"
        for channel, reasons in attempt["reasons"].items():
            yield f"  {channel:<18} {', '.join(reasons)}"
    yield from _ledger(told["ledger"])
    yield from _payload(told["payload"], encrypted=newest["encrypted"])


def _ledger(entry: dict[str, Any] | None) -> Iterator[str]:
    if entry is None:
        yield "ledger: nothing has happened to it since"
        return
    told = [f"ledger: {entry['state']}, attempt {entry['attempt']}, at {entry['at']}"]
    told += [f"{name} {entry[name]}" for name in ("run", "why") if entry.get(name)]
    if entry.get("released"):
        told.append(f"released {', '.join(entry['released'])}")
    yield ", ".join(told)
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
