"""`transfer-gate doctor | verify | audit`: exit 0 only when what they check holds. They change nothing."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from rich.table import Table

from transfer_gate.auditor.service import MOST_TOLD, Auditor, Tally, log_finding, run_auditor
from transfer_gate.cli.options import wait_option, with_output
from transfer_gate.cli.render import Page, echo, echo_json, table
from transfer_gate.doctor import examine
from transfer_gate.errors import BrokerUnavailable, CheckFailed
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.observe.logs import configure_logs
from transfer_gate.registry import load_registry
from transfer_gate.settings import load_settings
from transfer_gate.verify.account import Account
from transfer_gate.verify.account import verify as account_for

_COLOURS: Final = {"ok": "green", "warn": "yellow", "FAIL": "red"}
_OF_ACCOUNT: Final = {
    "inputs": "input records",
    "expected": "(input record, partner, channel) that need an outcome",
    "released": "outcomes on the partner's topic",
    "quarantined": "outcomes in quarantine",
    "missing": "no outcome",
    "duplicated": "outcomes beyond the first",
    "misrouted": "outcomes in a wrong place, altered, or without an input record",
}
_OF_TALLY: Final = {
    "records": "released records on the partners' topics",
    "ok": "follow from decision, transfer, registry and consent",
    "leak": "against a consent event acknowledged before",
    "stray": "against a consent event that was on its way from another partition",
    "unexplained": "not what a decision of the gate gives",
    "revision-unknown": "decided by a registry not at hand: add --registry",
    "source-gone": "transfer, or consent before it, deleted",
    "too-close": "ok, but an event against it within the margin",
    "without-record": "decisions whose record is no longer there",
}


@click.command()
@with_output
def doctor(output: str) -> None:
    """Check broker, topics, registry, clock and versions; change nothing.

    Exit 1 when a line says FAIL, 6 when no broker answers.
    """
    silence_clients()
    findings, answered = asyncio.run(examine(load_settings()))
    if output == "json":
        echo_json({"findings": findings})
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            status = click.style(f"{finding.status:<4}", fg=_COLOURS[finding.status])
            echo(f"  {finding.check:<{width}}  {finding.found}", styled=status)
            if finding.do and finding.status != "ok":
                echo(f"      {'':<{width}}  -> {finding.do}")
    if not answered:
        raise BrokerUnavailable("no broker answers", do="see the line `broker` above")
    failed = sum(finding.status == "FAIL" for finding in findings)
    if failed:
        raise CheckFailed(f"{failed} checks failed", do="see the lines marked FAIL above")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the counts as one JSON object.")
@wait_option(30.0, "Let a running gate decide what is in the input topics first.")
@click.option("--decided-only", is_flag=True, help="Leave out input records that the gate has not decided yet.")
def verify(as_json: bool, wait_seconds: float, decided_only: bool) -> None:
    """Check that every (input record, partner, channel) has exactly one outcome, released or quarantined.

    Reads committed records from the beginning of the input topics up to where they end when the command starts, and
    everything that came out. Exit 1 unless missing, duplicated and misrouted are 0.
    """
    silence_clients()
    settings = load_settings()
    account = asyncio.run(
        account_for(
            settings,
            load_registry(settings.registry),
            wait_seconds=wait_seconds,
            decided_only=decided_only,
            on_progress=lambda line: echo(line, err=True),
        )
    )
    if as_json:
        echo_json(account.counts, indent=None)
    else:
        Page().print(_account_table(account))
    for line in _remarks(account):
        echo(line, err=True)
    if not account.counts.holds:
        raise CheckFailed(
            "promise 2 does not hold for these records: each must end in exactly one place",
            do="see docs/how-to/verify.md for how to find them",
        )


def _account_table(account: Account) -> Table:
    held = account.held
    of_quarantined = (
        ("  open", held.open, "still quarantined"),
        ("  replayed", held.replayed, "released by a replay since"),
        ("  discarded", held.discarded, "will never go out"),
        ("  moving", held.moving, "decided again while this ran"),
    )
    rows = [(name, f"{getattr(account.counts, name):,}", meaning) for name, meaning in _OF_ACCOUNT.items()]
    rows.append(("of the quarantined", "", ""))
    rows += [(name, f"{count:,}", meaning) for name, count, meaning in of_quarantined if count or name != "  moving"]
    return table(rows, "", ">", "")


def _remarks(account: Account) -> Iterator[str]:
    if account.undecided and account.counts.missing:
        yield f"the gate is {account.undecided:,} offsets behind: what it has not decided is missing"
    if account.unopened:
        yield (
            f"{account.unopened:,} encrypted payloads could not be opened (erased, or no key on this machine): "
            "compared by their headers only"
        )
    if account.outside:
        yield f"not counted: {account.outside:,} outcomes of records outside of what was read"
    if account.shortened and not account.counts.holds:
        yield f"oldest records are deleted, so outcomes may only seem missing: {', '.join(account.shortened)}"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the counts as one JSON object.")
@click.option("--follow", is_flag=True, help="Go on until SIGTERM, with metrics on the metrics port.")
@click.option(
    "--registry",
    "folders",
    type=click.Path(file_okay=False, path_type=Path),
    multiple=True,
    metavar="DIR",
    help="An earlier registry that decisions were taken by, beside TRANSFER_GATE_REGISTRY; may be repeated.",
)
@click.option(
    "--margin",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Clocks may differ, and an acknowledgement may take, up to this.",
)
def audit(as_json: bool, follow: bool, folders: tuple[Path, ...], margin: float) -> None:
    """Check every record on the partners' topics against its decision record, its transfer and the consent of then.

    Reads only. Exit 1 when a record leaked or is not explained.
    """
    silence_clients()
    settings = load_settings()
    registries = [load_registry(folder) for folder in (settings.registry, *folders)]
    allowed = dt.timedelta(seconds=margin)
    if follow:
        configure_logs(settings.log_format, settings.log_level)
        silence_clients()
        asyncio.run(run_auditor(settings, Auditor(settings, registries, margin=allowed, on_finding=log_finding)))
        return
    # Findings are printed at the end, from the tally.
    tally = asyncio.run(Auditor(settings, registries, margin=allowed, on_finding=lambda _: None).once())
    counts = tally.as_counts()
    if as_json:
        echo_json(counts, indent=None)
    else:
        Page().print(table([(name, f"{count:,}", _OF_TALLY[name]) for name, count in counts.items()], "", ">", ""))
    _print_findings(tally)
    if not tally.holds:
        raise CheckFailed(
            "released records leaked or are not explained", do="see docs/how-to/audit.md for what each means"
        )


def _print_findings(tally: Tally) -> None:
    for finding in tally.findings:
        where = f"{finding.topic}/{finding.partition}@{finding.offset}"
        echo(f"{finding.outcome}: {where}: {finding.why}", err=True)
    if len(tally.findings) == MOST_TOLD:
        echo(f"only the first {MOST_TOLD} are listed", err=True)
