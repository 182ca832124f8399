"""`transfer-gate policy`: test the rules with case files; explain a decision."""

import datetime as dt
import json
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from transfer_gate.errors import CheckFailed, InvalidInput
from transfer_gate.model.reviewed import When
from transfer_gate.settings import load_settings

_PATH = click.Path(path_type=Path)


@click.group()
def policy() -> None:
    """Test the rules with case files; explain a decision."""


@policy.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=_PATH)
@click.option("--junit", metavar="FILE", type=_PATH, help="Write the outcome as JUnit XML too.")
def test(paths: tuple[Path, ...], junit: Path | None) -> None:
    """Run the cases in the files and folders PATH... and say what differs.

    Exit 0 when all pass, 1 when one fails, 2 when a file is wrong, 3 when there is no case.
    """
    from transfer_gate import cases

    outcomes = [cases.run(case) for file in cases.read(paths) for case in file.cases]
    for line in cases.lines(outcomes):
        click.echo(line)
    if junit is not None:
        try:
            junit.write_bytes(cases.junit(outcomes))
        except OSError as error:
            raise InvalidInput(f"{junit}: can't be written: {error.strerror}", do="name another file") from None
    if not all(outcome.passed for outcome in outcomes):
        raise click.exceptions.Exit(CheckFailed.exit_code)


@policy.command()
@click.option("--event", required=True, metavar="FILE", type=_PATH, help="The transfer, JSON or YAML.")
@click.option("--consents", metavar="FILE", type=_PATH, help="Consent events in arrival order: a list or JSON lines.")
@click.option("--at", metavar="TIME", help="Decide as of this time (RFC 3339 with an offset); default: now.")
@click.option("--registry", metavar="DIR", type=_PATH, help="Registry folder; default: TRANSFER_GATE_REGISTRY.")
@click.option("--output", type=click.Choice(["human", "json"]), default="human", show_default=True)
def explain(event: Path, consents: Path | None, at: str | None, registry: Path | None, output: str) -> None:
    """Explain a decision: every rule, whether it held, failed or did not apply, with the facts and the article.

    Offsets of consent events are their positions in the file, from 0. Without --consents there are none.
    """
    from transfer_gate.cases.inputs import events_in, transfer_in
    from transfer_gate.cases.run import folded
    from transfer_gate.cli.explanation import as_json, as_text
    from transfer_gate.policy.explain import explain as explained
    from transfer_gate.registry import load_registry

    now = _time(at)
    transfer = transfer_in(event)
    state = folded(events_in(consents) if consents else (), transfer.prospect_id.encode())
    rulebook = load_registry(registry or load_settings().registry)
    explanations = explained(transfer, state, rulebook, now)
    if state.blocked():
        unresolved = sorted(set(state.unreadable) - set(state.resolved))
        click.echo(f"consent events that can't be read, by position: {', '.join(map(str, unresolved))}", err=True)
    if output == "json":
        told = {
            "event_id": transfer.event_id,
            "at": now.isoformat().replace("+00:00", "Z"),
            "policy": {"jurisdiction": rulebook.policy.jurisdiction, "revision": rulebook.revision},
            "partners": as_json(explanations),
        }
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))
        return
    click.echo(f"transfer {transfer.event_id} as of {now.isoformat()}, registry {rulebook.revision}")
    for line in as_text(explanations):
        click.echo(line)


def _time(text: str | None) -> dt.datetime:
    if text is None:
        return dt.datetime.now(dt.UTC)
    try:
        return TypeAdapter(When).validate_python(text)
    except ValidationError:
        raise InvalidInput(f"--at {text}: no time", do="write it as 2026-09-01T10:00:00+02:00") from None
