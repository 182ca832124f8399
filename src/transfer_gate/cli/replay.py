"""`transfer-gate replay`: plan, approve, run, watch and cancel fresh decisions about quarantined records."""

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from msgspec.structs import replace
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from transfer_gate.cli.options import (
    FILE,
    Rate,
    as_id,
    filter_of,
    reason_given,
    with_filter,
    with_output,
    with_ticket,
    with_why,
)
from transfer_gate.cli.render import Page, echo, show, table
from transfer_gate.errors import PartiallyFailed
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.kafka.session import Session, in_session
from transfer_gate.printable import without_contacts
from transfer_gate.registry import load_registry
from transfer_gate.replay.plan import Plan, plan_file, save_plan
from transfer_gate.replay.plan_store import approve, cancel, needs_approval, publish
from transfer_gate.replay.planning import make_plan
from transfer_gate.replay.progress import Difference, Status, status_of
from transfer_gate.replay.runner import Report, RunOptions, run_plan
from transfer_gate.settings import Settings, load_settings

#: Without a terminal, a line this often, seconds.
_LINE_SECONDS: Final = 5.0

_MEANING: Final = {
    "open": "not decided",
    "released": "released",
    "partly": "in part released, in part quarantined again",
    "held": "quarantined again",
    "split": "readable now: one record for each partner that is quarantined",
    "discarded": "discarded",
    "erased": "erased: can't be read any more",
    "refused": "refused: could not be decided, still open",
    "elsewhere": "settled by another plan or an operator, before or since",
}


class RunScreen:
    """A `replay.runner.Screen`: progress on stderr. `yes`: go on after a canary without a question."""

    def __init__(self, *, yes: bool) -> None:
        self._yes = yes
        self._console = Page(stderr=True)
        self._records = 0
        self._line_at = time.monotonic() + _LINE_SECONDS
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("replay"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[in_flight]:,} in flight"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("replay", total=None, in_flight=0)

    def begin(self, records: int) -> None:
        """See `Screen`."""
        self._records = records
        self._bar.update(self._task, total=records)
        self._bar.start()

    def show(self, settled: int, in_flight: int) -> None:
        """See `Screen`."""
        self._bar.update(self._task, completed=settled, in_flight=in_flight)
        if not self._console.is_terminal and time.monotonic() > self._line_at:
            self._line_at = time.monotonic() + _LINE_SECONDS
            echo(f"{settled:,} of {self._records:,} settled, {in_flight:,} in flight", err=True)

    def end(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    async def go_on(self, report: Report) -> bool:
        """See `Screen`. Without a terminal the answer is no, unless `yes`."""
        self._bar.stop()
        echo(f"canary: {report.sent:,} sent", err=True)
        for part in (_outcomes(report.outcomes, report.records), *_differences(report.differences)):
            self._console.print(part)
        if not self._yes:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                return False
            if not await asyncio.to_thread(click.confirm, "go on with the rest?", err=True):
                return False
        self._bar.start()
        return True


@click.group()
def replay() -> None:
    """Let the gate decide quarantined records again, with the consent, registry and rules of now.

    Nothing goes round the gate: a record is released only when every rule holds now, and at most once.
    """
    silence_clients()


@replay.command("plan")
@with_filter
@click.option("--id", "ids", multiple=True, metavar="ID", help="With this quarantine id; may be repeated.")
@with_ticket
@with_output
@click.option("--file", type=FILE, help="Write the plan file there as well.")
def plan_command(ids: tuple[str, ...], ticket: str | None, output: str, file: Path | None, **given: Any) -> None:
    """Freeze the open records that match, and forecast the outcome of each. Sends nothing.

    Exit 3 when nothing matches.
    """
    settings = load_settings()
    wanted = filter_of(given, ids=map(as_id, ids), open_only=True)

    async def run(session: Session) -> tuple[Plan, str]:
        registry = load_registry(settings.registry)
        plan = await make_plan(session, registry, wanted, ticket=ticket, on_progress=lambda line: echo(line, err=True))
        return plan, await publish(session, plan)

    plan, digest = in_session(settings, run)
    if file is not None:
        save_plan(file, plan, digest)
    approval = needs_approval(settings, len(plan.items))
    show(output, _plan_summary(settings, plan, digest, approval), _plan_page(plan, approval))


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

    Exit 5 for your own plan, 3 when you approved it before.
    """
    settings = load_settings()
    known = in_session(settings, lambda session: approve(session, plan_id, ticket=ticket))
    echo(f"approved: {len(known.plan.items):,} records, digest {known.digest[:12]}…")


@replay.command("run")
@click.argument("plan_id")
@click.option("--rate", type=Rate(), metavar="N/s", help="Send at most so many records a second.")
@click.option("--limit", type=click.IntRange(min=1), help="Send at most so many records, then stop (exit 4).")
@click.option("--canary", type=click.IntRange(min=1), help="Send so many first, show their outcomes, then prompt.")
@click.option("--breaker", type=click.FloatRange(0, 1), help="Stop when a larger share is quarantined again.")
@click.option("--yes", is_flag=True, help="Go on after the canary without a prompt.")
@with_ticket
@with_output
def run_command(plan_id: str, yes: bool, output: str, breaker: float | None, **given: Any) -> None:
    """Send exactly the records of a plan to the gate, and wait for their outcomes.

    May be stopped at any time, and run again: it goes on where it was, and nothing is decided twice. Exit 0 when all
    are decided, 3 when nothing is left to do, 4 when some are not decided, 5 when a guard refused.
    """
    settings = load_settings()
    options = RunOptions(breaker=settings.replay_breaker_share if breaker is None else breaker, **given)
    screen = RunScreen(yes=yes)
    try:
        report = in_session(settings, lambda session: run_plan(session, plan_id, options, screen))
    finally:
        screen.end()
    show(output, report, _report_page(report))
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
            do="they are not in quarantine any more: have the source send these transfers again",
        )


@replay.command("status")
@click.argument("plan_id")
@with_output
def status_command(plan_id: str, output: str) -> None:
    """Show the outcomes of a plan's records so far, and who did what about it."""
    settings = load_settings()
    status = in_session(settings, lambda session: status_of(session, plan_id))
    show(output, status, _status_page(status))


@replay.command("cancel")
@click.argument("plan_id")
@with_why
def cancel_command(plan_id: str, why: str | None) -> None:
    """Cancel a plan for good. A run of it stops within about a second; what it has sent is decided."""
    settings = load_settings()
    text = reason_given(why, "cancelling a plan")
    known = in_session(settings, lambda session: cancel(session, plan_id, text))
    echo(f"cancelled: plan {known.plan.plan_id}")


def _plan_page(plan: Plan, approval: bool) -> Iterator[str | Table]:
    """The forecast: reasons of then, outcomes of now, by partner."""
    moves = sorted(plan.moves, key=lambda move: (move.partner_id or "", -move.channels))
    yield table(
        [
            (
                without_contacts(move.partner_id or "-"),
                move.reason,
                move.outcome if move.outcome in ("released", "erased", "split") else f"held: {move.outcome}",
                f"{move.channels:,}",
            )
            for move in moves
        ],
        "partner",
        "quarantined for",
        "would be",
        ">channels",
    )
    yield ""
    yield _outcomes(plan.outcomes(), len(plan.items))
    if plan.not_replayable:
        yield f"left out: {plan.not_replayable:,} unreadable consent events (transfer-gate consent resolve)"
    yield ""
    yield f"plan {plan.plan_id}"
    if approval:
        yield f"next, another operator: transfer-gate replay approve {plan.plan_id}"
    yield f"next: transfer-gate replay run {plan.plan_id}"


def _outcomes(outcomes: dict[str, int], records: int) -> Table:
    """Records by outcome."""
    counted = [(name, f"{outcomes[name]:,}", meaning) for name, meaning in _MEANING.items() if name in outcomes]
    return table([*counted, ("records", f"{records:,}")], "", ">", "")


def _report_page(report: Report) -> Iterator[str | Table]:
    """The outcomes of a run."""
    yield _outcomes(report.outcomes, report.records)
    yield f"sent {report.sent:,} in {report.seconds:.1f} s"
    if report.gone:
        yield f"{report.gone:,} not sent: retention deleted them from quarantine"
    if report.altered:
        yield f"{report.altered:,} not sent: the record there is not the planned record"
    yield from _differences(report.differences)


def _differences(differences: list[Difference]) -> Iterator[Table]:
    """Outcomes other than forecast."""
    if differences:
        rows = [(found.forecast, found.outcome, f"{found.records:,}", found.ids[0]) for found in differences]
        yield table(rows, "forecast", "came out", ">records", "for instance", title="other than forecast")


def _status_page(status: Status) -> Iterator[str | Table]:
    """A plan, how far it is, and the audit events about it."""
    yield f"plan     {status.plan_id}, digest {status.digest[:12]}…, by {status.by}"
    given = {name: len(value) if isinstance(value, list) else value for name, value in status.filter.items()}
    yield "filter   " + (", ".join(f"{name} {value}" for name, value in given.items()) or "everything open")
    yield "forecast " + ", ".join(f"{count:,} {outcome}" for outcome, count in status.forecast.items())
    gone = f", {status.gone:,} deleted by retention" if status.gone else ""
    yield f"state    {status.state}: {status.settled:,} of {status.records:,} settled{gone}"
    if status.approval_needed:
        yield "approval needed, by another operator"
    yield ""
    yield _outcomes(status.outcomes, status.records)
    yield from _differences(status.differences)
    yield ""
    rows = [
        (
            event.at.isoformat(timespec="seconds"),
            event.by,
            event.action,
            f"{event.outcome} ({event.why})" if event.why else event.outcome,
            event.ticket or "",
        )
        for event in status.acts
    ]
    yield table(rows, "at", "by", "action", "outcome", "ticket")
