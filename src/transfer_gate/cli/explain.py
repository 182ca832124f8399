"""`transfer-gate policy explain`: a decision from files, or one that a gate took, rule by rule."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from transfer_gate.cli.render import echo, echo_json
from transfer_gate.errors import InvalidInput
from transfer_gate.model.registry import Registry
from transfer_gate.model.reviewed import When
from transfer_gate.printable import without_contacts
from transfer_gate.settings import load_settings

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--event", metavar="FILE", type=_PATH, help="The transfer, JSON or YAML.")
@click.option("--consents", metavar="FILE", type=_PATH, help="Consent events in arrival order: a list or JSON lines.")
@click.option("--decision", "decision_id", metavar="ID", help="A decision that a gate took, looked up on the broker.")
@click.option(
    "--at",
    metavar="TIME",
    help="Decide as of this time (RFC 3339 with an offset); default: now, with --decision the time of the decision.",
)
@click.option("--registry", metavar="DIR", type=_PATH, help="Registry folder; default: TRANSFER_GATE_REGISTRY.")
@click.option("--output", type=click.Choice(["human", "json"]), default="human", show_default=True)
def explain(
    event: Path | None,
    consents: Path | None,
    decision_id: str | None,
    at: str | None,
    registry: Path | None,
    output: str,
) -> None:
    """Explain a decision: every rule, whether it held, failed or did not apply, with the facts and the article.

    Name the transfer with --event, or the decision with --decision. In files, offsets of consent events are their
    positions, from 0; without --consents there are none. A decision is explained as of its own time and by the consent
    events that it had seen; when its source is no longer on the broker, from its record alone.
    """
    from transfer_gate.registry import load_registry

    if (event is None) == (decision_id is None):
        raise click.UsageError("give either --event or --decision")
    if decision_id is not None and consents is not None:
        raise click.UsageError("--consents goes with --event; a decision is explained by the consent that it saw")
    now = None if at is None else _time(at)
    rulebook = load_registry(registry or load_settings().registry)
    if event is not None:
        told, lines = _of_event(event, consents, rulebook, now or dt.datetime.now(dt.UTC))
    else:
        told, lines = _of_decision(decision_id or "", rulebook, now)
    if output == "json":
        echo_json(told)
        return
    for line in lines:
        echo(line)


def _of_event(
    event: Path, consents: Path | None, rulebook: Registry, now: dt.datetime
) -> tuple[dict[str, Any], Sequence[str]]:
    from transfer_gate.cases.input_files import events_in, transfer_in
    from transfer_gate.cases.run import folded
    from transfer_gate.cli.explanation import as_json, as_text
    from transfer_gate.policy.explain import explain as explained
    from transfer_gate.policy.view import view_of
    from transfer_gate.records.forms import is_unidentified

    transfer = transfer_in(event)
    nobody = view_of(rulebook).nobody
    if is_unidentified(transfer.prospect_id, nobody):
        raise InvalidInput(
            f"{event}: prospect-unidentified: the prospect_id stands for nobody",
            do="send the id of a person; docs/explanation/rules.md lists the words that are none",
        )
    state = folded(events_in(consents) if consents else (), transfer.prospect_id.encode(), nobody=nobody)
    explanations = explained(transfer, state, rulebook, now)
    if state.blocked():
        unresolved = sorted(set(state.unreadable) - set(state.resolved))
        echo(f"consent events that can't be read, by position: {', '.join(map(str, unresolved))}", err=True)
    told = {
        "event_id": without_contacts(transfer.event_id),
        "at": now.isoformat().replace("+00:00", "Z"),
        "policy": {"jurisdiction": rulebook.policy.jurisdiction, "revision": rulebook.revision},
        "partners": as_json(explanations),
    }
    title = f"transfer {without_contacts(transfer.event_id)} as of {now.isoformat()}, registry {rulebook.revision}"
    return told, [title, *as_text(explanations)]


def _of_decision(decision_id: str, rulebook: Registry, now: dt.datetime | None) -> tuple[dict[str, Any], Sequence[str]]:
    from transfer_gate.auditor.evidence import gather
    from transfer_gate.cli.recorded import Recorded
    from transfer_gate.kafka.clients import silence_clients

    silence_clients()
    recorded = Recorded(asyncio.run(gather(load_settings(), decision_id, rulebook.policy.nobody)), rulebook, now)
    return recorded.as_json(), list(recorded.as_text())


def _time(text: str) -> dt.datetime:
    try:
        return TypeAdapter(When).validate_python(text)
    except ValidationError:
        raise InvalidInput(f"--at {text}: not a time", do="write it as 2026-09-01T10:00:00+02:00") from None
