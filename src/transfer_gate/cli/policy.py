"""`transfer-gate policy`: test the rules with case files; explain a decision, from files or of a gate."""

import asyncio
import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from transfer_gate.cli.options import PATH, moment, output_option
from transfer_gate.cli.render import echo, show
from transfer_gate.errors import CheckFailed, InvalidInput
from transfer_gate.model.registry import Registry
from transfer_gate.printable import without_contacts
from transfer_gate.settings import load_settings


@click.group()
def policy() -> None:
    """Test the rules with case files; explain a decision."""


@policy.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=PATH)
@click.option(
    "--registry",
    metavar="DIR",
    type=PATH,
    help="A registry folder below the case files' own entries: they then hold your own registry.",
)
@click.option("--junit", metavar="FILE", type=PATH, help="Write the outcome as JUnit XML too.")
def test(paths: tuple[Path, ...], registry: Path | None, junit: Path | None) -> None:
    """Run the cases in the files and folders PATH... and list what differs.

    Exit 0 when all pass, 1 when one fails, 2 when a file is wrong, 3 when there is no case.
    """
    from transfer_gate import cases

    outcomes = [cases.run(case) for file in cases.read(paths, registry) for case in file.cases]
    for line in cases.lines(outcomes):
        echo(line)
    if junit is not None:
        try:
            junit.write_bytes(cases.junit(outcomes))
        except OSError as error:
            raise InvalidInput(f"{junit}: can't be written: {error.strerror}", do="name another file") from None
    if not all(outcome.passed for outcome in outcomes):
        raise click.exceptions.Exit(CheckFailed.exit_code)


@policy.command()
@click.option("--event", metavar="FILE", type=PATH, help="The transfer, JSON or YAML.")
@click.option("--consents", metavar="FILE", type=PATH, help="Consent events in arrival order: a list or JSON lines.")
@click.option("--decision", "decision_id", metavar="ID", help="A decision that a gate took, looked up on the broker.")
@click.option(
    "--at",
    metavar="TIME",
    help="Decide as of this time (RFC 3339 with an offset); default: now, with --decision the time of the decision.",
)
@click.option("--registry", metavar="DIR", type=PATH, help="Registry folder; default: TRANSFER_GATE_REGISTRY.")
@output_option("human", "json")
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
    now = moment("--at", at)
    rulebook = load_registry(registry or load_settings().registry)
    if event is not None:
        shown, lines = _of_event(event, consents, rulebook, now or dt.datetime.now(dt.UTC))
    else:
        shown, lines = _of_decision(decision_id or "", rulebook, now)
    show(output, shown, lines)


def _of_event(
    event: Path, consents: Path | None, rulebook: Registry, now: dt.datetime
) -> tuple[dict[str, Any], Iterable[str]]:
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
            f"{event}: prospect-unidentified: the prospect_id identifies no person",
            do="send the id of a person; docs/explanation/rules.md lists the words that are none",
        )
    state = folded(events_in(consents) if consents else (), transfer.prospect_id.encode(), nobody=nobody)
    explanations = explained(transfer, state, rulebook, now)
    if state.blocked():
        unresolved = sorted(set(state.unreadable) - set(state.resolved))
        echo(f"consent events that can't be read, by position: {', '.join(map(str, unresolved))}", err=True)
    shown = {
        "event_id": without_contacts(transfer.event_id),
        "at": now.isoformat().replace("+00:00", "Z"),
        "policy": {"jurisdiction": rulebook.policy.jurisdiction, "revision": rulebook.revision},
        "partners": as_json(explanations),
    }
    title = f"transfer {without_contacts(transfer.event_id)} as of {now.isoformat()}, registry {rulebook.revision}"
    return shown, [title, *as_text(explanations)]


def _of_decision(decision_id: str, rulebook: Registry, now: dt.datetime | None) -> tuple[dict[str, Any], Iterable[str]]:
    from transfer_gate.auditor.evidence import gather
    from transfer_gate.cli.explanation import Recorded
    from transfer_gate.kafka.clients import silence_clients

    silence_clients()
    recorded = Recorded(asyncio.run(gather(load_settings(), decision_id, rulebook.policy.nobody)), rulebook, now)
    return recorded.as_json(), recorded.as_text()
