"""`transfer-gate replay`: plan, approve, run, watch and cancel fresh decisions about quarantined records."""

from pathlib import Path
from typing import Any, Literal

import click
import msgspec
from msgspec.structs import replace

from transfer_gate.cli.acts import as_id, reason_given, with_ticket, with_why
from transfer_gate.cli.options import filter_of, with_filter
from transfer_gate.cli.render import Page, echo, echo_json
from transfer_gate.cli.replay_options import Rate
from transfer_gate.cli.replay_screen import RunScreen, print_plan, print_report, print_status
from transfer_gate.cli.sessions import in_session
from transfer_gate.errors import PartiallyFailed
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.kafka.session import Session
from transfer_gate.quarantine.search import Filter
from transfer_gate.registry import load_registry
from transfer_gate.replay.plan import Plan, plan_file, save_plan
from transfer_gate.replay.plan_store import approve, cancel, needs_approval, publish
from transfer_gate.replay.planning import make_plan
from transfer_gate.replay.progress import status_of
from transfer_gate.replay.runner import Report, RunOptions, run_plan
from transfer_gate.settings import Settings, load_settings

Output = Literal["table", "json"]
_output = click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)


@click.group()
def replay() -> None:
    """Let the gate decide quarantined records afresh, with the consent, registry and rules of now.

    Nothing goes round the gate: a record is released only when every rule holds now, and at most once.
    """
    silence_clients()


@replay.command("plan")
@with_filter
@click.option("--id", "ids", multiple=True, metavar="ID", help="With this quarantine id; may be repeated.")
@with_ticket
@_output
@click.option("--file", type=click.Path(dir_okay=False, path_type=Path), help="Write the plan file there as well.")
def plan_command(ids: tuple[str, ...], ticket: str | None, output: Output, file: Path | None, **given: Any) -> None:
    """Freeze the open records that match, and say what would become of each. Sends nothing.

    Exit 3 when nothing matches.
    """
    settings = load_settings()
    wanted = filter_of(given, ids=map(as_id, ids), open_only=True)
    in_session(settings, lambda session: _plan(session, wanted, ticket, output, file))


async def _plan(session: Session, wanted: Filter, ticket: str | None, output: Output, file: Path | None) -> None:
    settings = session.settings
    registry = load_registry(settings.registry)
    plan = await make_plan(session, registry, wanted, ticket=ticket, say=lambda line: echo(line, err=True))
    digest = await publish(session, plan)
    if file is not None:
        save_plan(file, plan, digest)
    approval = needs_approval(settings, len(plan.items))
    if output == "json":
        echo_json(_plan_summary(settings, plan, digest, approval))
        return
    print_plan(Page(), plan)
    echo()
    echo(f"plan {plan.plan_id}")
    if approval:
        echo(f"next, another operator: transfer-gate replay approve {plan.plan_id}")
    echo(f"next: transfer-gate replay run {plan.plan_id}")


def _plan_summary(settings: Settings, plan: Plan, digest: str, approval: bool) -> dict[str, Any]:
    head: dict[str, Any] = msgspec.to_builtins(replace(plan, items=(), forecasts=()))
    del head["items"], head["forecasts"]
    file = str(plan_file(settings.data_dir, plan.plan_id))
    more = {"digest": digest, "records": len(plan.items), "forecast": plan.outcomes()}
    return head | more | {"approval_needed": approval, "file": file}


@replay.command("approve")
@click.argument("plan_id")
@with_ticket
def approve_command(plan_id: str, ticket: str | None) -> None:
    """Let a large plan run, as a second person. Look at `replay status PLAN_ID` first.

    Exit 5 for a plan of one's own, 3 when it was approved before.
    """
    settings = load_settings()
    known = in_session(settings, lambda session: approve(session, plan_id, ticket=ticket))
    echo(f"approved: {len(known.plan.items):,} records, digest {known.digest[:12]}…")


@replay.command("run")
@click.argument("plan_id")
@click.option("--rate", type=Rate(), metavar="N/s", help="Send at most so many records a second.")
@click.option("--limit", type=click.IntRange(min=1), help="Send at most so many records, then stop (exit 4).")
@click.option("--canary", type=click.IntRange(min=1), help="Send so many first, show what they come to, ask.")
@click.option("--breaker", type=click.FloatRange(0, 1), help="Stop when a larger share is held again.")
@click.option("--yes", is_flag=True, help="Go on after the canary without asking.")
@with_ticket
@_output
def run_command(plan_id: str, yes: bool, output: Output, breaker: float | None, **given: Any) -> None:
    """Send exactly the records of a plan to the gate, and wait for what becomes of them.

    May be stopped at any time, and run again: it goes on where it stands, and nothing is decided twice. Exit 0 when all
    are decided, 3 when nothing is left to do, 4 when some are not decided, 5 when a guard refused.
    """
    settings = load_settings()
    options = RunOptions(breaker=settings.replay_breaker_share if breaker is None else breaker, **given)
    screen = RunScreen(yes=yes)
    try:
        report = in_session(settings, lambda session: run_plan(session, plan_id, options, screen))
    finally:
        screen.end()
    if output == "json":
        echo_json(report)
    else:
        print_report(Page(), report)
    _raise_for(report)


def _raise_for(report: Report) -> None:
    if report.stopped:
        raise PartiallyFailed(
            f"{report.undecided:,} of {report.records:,} records are not decided; stopped by {report.stopped}",
            do=f"go on with: transfer-gate replay run {report.plan_id}",
        )
    if report.gone or report.altered:
        raise PartiallyFailed(
            f"{report.gone + report.altered:,} of {report.records:,} records could not be sent",
            do="they are not in quarantine any more: ask the source to send these transfers anew",
        )


@replay.command("status")
@click.argument("plan_id")
@_output
def status_command(plan_id: str, output: Output) -> None:
    """What became of a plan's records so far, and who did what about it."""
    settings = load_settings()
    status = in_session(settings, lambda session: status_of(session, plan_id))
    if output == "json":
        echo_json(status)
    else:
        print_status(Page(), status)


@replay.command("cancel")
@click.argument("plan_id")
@with_why
def cancel_command(plan_id: str, why: str | None) -> None:
    """Cancel a plan for good. A run of it stops within about a second; what it has sent is decided."""
    settings = load_settings()
    text = reason_given(why, "cancelling a plan")
    known = in_session(settings, lambda session: cancel(session, plan_id, text))
    echo(f"cancelled: plan {known.plan.plan_id}")
