"""How replays look: the forecast of a plan, the progress of a run, its report, the status of a plan."""

import asyncio
import sys
import time
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from transfer_gate.cli.render import Page, Rows, echo
from transfer_gate.printable import without_contacts
from transfer_gate.replay.plan import Plan
from transfer_gate.replay.progress import Difference, Status
from transfer_gate.replay.runner import Report

#: Without a terminal, a line this often, seconds.
_LINE_SECONDS: Final = 5.0

_MEANING: Final = {
    "open": "not decided",
    "released": "released",
    "partly": "in part released, in part held again",
    "held": "held again",
    "split": "readable now: one record for each partner that is held",
    "discarded": "discarded",
    "erased": "erased: can't be read any more",
    "refused": "refused: could not be decided, still open",
    "elsewhere": "settled by another plan or an operator, before or since",
}


class RunScreen:
    """Progress on stderr. `yes`: go on after a canary without asking."""

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
        """See quarantine.run.Screen."""
        self._records = records
        self._bar.update(self._task, total=records)
        self._bar.start()

    def show(self, settled: int, in_flight: int) -> None:
        """See quarantine.run.Screen."""
        self._bar.update(self._task, completed=settled, in_flight=in_flight)
        if not self._console.is_terminal and time.monotonic() > self._line_at:
            self._line_at = time.monotonic() + _LINE_SECONDS
            echo(f"{settled:,} of {self._records:,} settled, {in_flight:,} in flight", err=True)

    def end(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    async def go_on(self, report: Report) -> bool:
        """See quarantine.run.Screen. Nobody there to ask means no, unless told beforehand."""
        self._bar.stop()
        echo(f"canary: {report.sent:,} sent", err=True)
        self._console.print(outcomes_table(report.outcomes, report.records))
        print_differences(self._console, report.differences)
        if not self._yes:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                return False
            if not await asyncio.to_thread(click.confirm, "go on with the rest?", err=True):
                return False
        self._bar.start()
        return True


def print_plan(out: Console, plan: Plan) -> None:
    """The forecast: old reason, what would become of it, by partner."""
    table = Rows(box=None, pad_edge=False)
    for title in ("partner", "held for", "would be"):
        table.add_column(title)
    table.add_column("channels", justify="right")
    for move in sorted(plan.moves, key=lambda one: (one.partner_id or "", -one.channels)):
        end = move.outcome if move.outcome in ("released", "erased", "split") else f"held: {move.outcome}"
        table.add_row(without_contacts(move.partner_id or "-"), move.reason, end, f"{move.channels:,}")
    out.print(table)
    out.print()
    out.print(outcomes_table(plan.outcomes(), len(plan.items)))
    if plan.not_replayable:
        out.print(f"left out: {plan.not_replayable:,} unreadable consent events (transfer-gate consent resolve)")


def outcomes_table(outcomes: dict[str, int], records: int) -> Table:
    """Records by outcome."""
    table = Rows(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for outcome, meaning in _MEANING.items():
        if outcome in outcomes:
            table.add_row(outcome, f"{outcomes[outcome]:,}", meaning)
    table.add_row("records", f"{records:,}")
    return table


def print_report(out: Console, report: Report) -> None:
    """What a run came to."""
    out.print(outcomes_table(report.outcomes, report.records))
    out.print(f"sent {report.sent:,} in {report.seconds:.1f} s")
    for count, what in (
        (report.gone, "not sent: retention deleted them from quarantine"),
        (report.altered, "not sent: the record there is not the one that was planned"),
    ):
        if count:
            out.print(f"{count:,} {what}")
    print_differences(out, report.differences)


def print_differences(out: Console, differences: list[Difference]) -> None:
    """What came out otherwise than forecast."""
    if not differences:
        return
    table = Rows(box=None, pad_edge=False, title="other than forecast", title_justify="left")
    for title in ("forecast", "came out"):
        table.add_column(title, overflow="fold")
    table.add_column("records", justify="right")
    table.add_column("for instance")
    for one in differences:
        table.add_row(one.forecast, one.outcome, f"{one.records:,}", one.ids[0])
    out.print(table)


def print_status(out: Console, status: Status) -> None:
    """Where a plan stands."""
    out.print(f"plan     {status.plan_id}, digest {status.digest[:12]}…, by {status.by}")
    shown = {name: len(given) if isinstance(given, list) else given for name, given in status.filter.items()}
    chosen = ", ".join(f"{name} {given}" for name, given in shown.items()) or "everything open"
    out.print(f"filter   {chosen}")
    out.print("forecast " + ", ".join(f"{count:,} {outcome}" for outcome, count in status.forecast.items()))
    out.print(f"state    {status.state}: {status.settled:,} of {status.records:,} settled", end="")
    out.print(f", {status.gone:,} deleted by retention" if status.gone else "")
    if status.approval_needed:
        out.print("approval needed, by another operator")
    out.print()
    out.print(outcomes_table(status.outcomes, status.records))
    print_differences(out, status.differences)
    out.print()
    table = Rows(box=None, pad_edge=False)
    for title in ("at", "by", "act", "outcome", "ticket"):
        table.add_column(title, overflow="fold")
    for act in status.acts:
        outcome = f"{act.outcome} ({act.why})" if act.why else act.outcome
        table.add_row(act.at.isoformat(timespec="seconds"), act.by, act.action, outcome, act.ticket or "")
    out.print(table)
