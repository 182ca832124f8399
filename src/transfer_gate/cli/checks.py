"""`transfer-gate verify`: exit 0 only when every record ended in exactly one place."""

import asyncio

import click

from transfer_gate.cli.render import Page, Rows, echo, echo_json
from transfer_gate.errors import CheckFailed
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.registry import load_registry
from transfer_gate.settings import load_settings
from transfer_gate.verify.account import Account
from transfer_gate.verify.account import verify as account_for

_MEANING = {
    "inputs": "input records",
    "expected": "(input record, partner, channel) that need an outcome",
    "released": "outcomes on the partner's topic",
    "quarantined": "outcomes in quarantine",
    "missing": "no outcome",
    "duplicated": "outcomes beyond the first",
    "misrouted": "outcomes in a wrong place, or altered, or that nobody asked for",
}


@click.command("verify")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as one JSON object.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Let a running gate decide what stands in the input topics first.",
)
@click.option("--decided-only", is_flag=True, help="Leave out input records that the gate has not decided yet.")
def verify(as_json: bool, wait_seconds: float, decided_only: bool) -> None:
    """Check that every (input record, partner, channel) has exactly one outcome, released or quarantined.

    Reads committed records from the beginning of the input topics up to where they end when the command starts, and
    everything that came out. Exit 1 unless missing, duplicated and misrouted are 0.
    """
    silence_clients()
    settings = load_settings()
    registry = load_registry(settings.registry)
    account = asyncio.run(
        account_for(
            settings,
            registry,
            wait_seconds=wait_seconds,
            decided_only=decided_only,
            on_progress=lambda line: echo(line, err=True),
        )
    )
    if as_json:
        echo_json(account.counts, indent=None)
    else:
        _print(account)
    _explain(account)
    if not account.counts.holds:
        raise CheckFailed(
            "promise 2 does not hold for these records: each must end in exactly one place",
            do="see docs/how-to/verify.md for how to find them",
        )


def _print(account: Account) -> None:
    table = Rows(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for name, meaning in _MEANING.items():
        table.add_row(name, f"{getattr(account.counts, name):,}", meaning)
    held = account.held
    table.add_row("of the quarantined", "", "")
    for name, count, meaning in (
        ("  open", held.open, "still held"),
        ("  replayed", held.replayed, "released by a replay since"),
        ("  discarded", held.discarded, "will never go out"),
        ("  moving", held.moving, "decided afresh while this ran"),
    ):
        if count or name != "  moving":
            table.add_row(name, f"{count:,}", meaning)
    Page().print(table)


def _explain(account: Account) -> None:
    if account.undecided and account.counts.missing:
        echo(f"the gate is {account.undecided:,} offsets behind: what it has not decided is missing", err=True)
    if account.unopened:
        echo(
            f"{account.unopened:,} encrypted payloads could not be opened (erased, or no key here): "
            "compared by their headers only",
            err=True,
        )
    if account.outside:
        echo(f"not counted: {account.outside:,} outcomes of records outside of what was read", err=True)
    if account.shortened and not account.counts.holds:
        echo(f"oldest records are deleted, so outcomes may only seem missing: {', '.join(account.shortened)}", err=True)
