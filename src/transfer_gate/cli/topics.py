"""`transfer-gate topics apply`: create the topics that are missing, list what differs."""

import asyncio
from collections.abc import Iterable
from typing import Final, Literal

import click

from transfer_gate.admin.topics import Difference, TopicReport, apply_topics
from transfer_gate.cli.printing import Page, Rows, echo, echo_json
from transfer_gate.errors import CheckFailed, InvalidInput, PartiallyFailed
from transfer_gate.registry import load_registry
from transfer_gate.settings import PREFIX, load_settings
from transfer_gate.stream.clients import silence_clients

#: Refusals of the broker that come from our own settings.
_WRONG_COUNTS: Final = ("InvalidReplicationFactorError", "InvalidPartitionsError")


@click.group()
def topics() -> None:
    """Topics of this installation."""


@topics.command("apply")
@click.option("--dry-run", is_flag=True, help="Create nothing; list what is missing and what differs.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def apply_command(dry_run: bool, output: Literal["table", "json"]) -> None:
    """Create what is missing, change nothing that exists, list what differs.

    Exit 1 when a worker could not start on what exists, 4 when the broker refused to create a topic.
    """
    silence_clients()
    settings = load_settings()
    reports = asyncio.run(apply_topics(settings, load_registry(settings.registry), dry_run=dry_run))
    if output == "json":
        echo_json({"topics": reports})
    else:
        _print(reports)
    _raise_for(reports)


def _print(reports: tuple[TopicReport, ...]) -> None:
    table = Rows(box=None, pad_edge=False)
    for title in ("topic", "partitions", "replication", ""):
        table.add_column(title, overflow="fold")
    for report in reports:
        counts = ["-" if count is None else str(count) for count in (report.partitions, report.replication)]
        table.add_row(report.topic, *counts, report.action)
    console = Page()
    console.print(table)
    differing = _grouped((_line(difference), report.topic) for report in reports for difference in report.differences)
    for line, names in differing.items():
        echo(f"{line}: {', '.join(names)}")


def _line(difference: Difference) -> str:
    mark = "REFUSED" if difference.refused else "differs"
    return f"{mark}  {difference.setting} is {difference.found}, should be {difference.wanted} ({difference.why})"


def _raise_for(reports: tuple[TopicReport, ...]) -> None:
    failed = _grouped((report.error, report.topic) for report in reports if report.error)
    if failed:
        count = sum(map(len, failed.values()))
        listed = "\n".join(f"  {error}: {', '.join(names)}" for error, names in failed.items())
        message = f"{count} of {len(reports)} topics could not be created:\n{listed}"
        if all(error.startswith(_WRONG_COUNTS) for error in failed):
            raise InvalidInput(
                message, do=f"change {PREFIX}PARTITIONS or {PREFIX}REPLICATION; none of them was created"
            )
        raise PartiallyFailed(message, do="mend the cause and run the command again: what exists stays as it is")
    refused = [report.topic for report in reports if any(difference.refused for difference in report.differences)]
    if refused:
        raise CheckFailed(
            f"a worker would refuse to start on: {', '.join(refused)}",
            do="see the lines marked REFUSED; nothing was changed",
        )


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key, name in pairs:
        groups.setdefault(key, []).append(name)
    return groups
