"""`transfer-gate audit`: exit 0 only when every released record is explained and none leaked."""

import asyncio
import datetime as dt
from pathlib import Path

import click

from transfer_gate.auditor.findings import MOST_TOLD, Finding, Tally
from transfer_gate.auditor.service import Auditor, log_finding, run_auditor
from transfer_gate.cli.render import Page, Rows, echo, echo_json
from transfer_gate.errors import CheckFailed
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.observe.logs import configure_logs
from transfer_gate.registry import load_registry
from transfer_gate.settings import load_settings

_MEANING = {
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


@click.command("audit")
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
    told = dt.timedelta(seconds=margin)
    if follow:
        configure_logs(settings.log_format, settings.log_level)
        silence_clients()
        asyncio.run(run_auditor(settings, Auditor(settings, registries, margin=told, on_finding=log_finding)))
        return
    tally = asyncio.run(Auditor(settings, registries, margin=told, on_finding=_ignore).once())
    if as_json:
        echo_json(tally.as_counts(), indent=None)
    else:
        _print(tally)
    _explain(tally)
    if not tally.holds:
        raise CheckFailed(
            "released records leaked or are not explained", do="see docs/how-to/audit.md for what each means"
        )


def _ignore(_: Finding) -> None:
    """The end of the run tells."""


def _print(tally: Tally) -> None:
    table = Rows(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for name, count in tally.as_counts().items():
        table.add_row(name, f"{count:,}", _MEANING[name])
    Page().print(table)


def _explain(tally: Tally) -> None:
    for finding in tally.findings:
        where = f"{finding.topic}/{finding.partition}@{finding.offset}"
        echo(f"{finding.outcome}: {where}: {finding.why}", err=True)
    if len(tally.findings) == MOST_TOLD:
        echo(f"only the first {MOST_TOLD} are told", err=True)
