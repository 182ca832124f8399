"""`transfer-gate topics`: create the topics that are missing, list what differs; bring them to more partitions."""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import click
import msgspec
from rich.table import Table

from transfer_gate.cli.options import with_output, with_ticket, with_why
from transfer_gate.cli.render import echo, show, table
from transfer_gate.errors import CheckFailed, InvalidInput, PartiallyFailed
from transfer_gate.growth.run import Grown, grow
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.kafka.session import Session, in_session
from transfer_gate.kafka.topics import Difference, TopicReport, apply_topics
from transfer_gate.operators import audit_event, audited
from transfer_gate.registry import load_registry
from transfer_gate.settings import PREFIX, load_settings

#: Refusals of the broker that come from the settings.
_WRONG_COUNTS: Final = ("InvalidReplicationFactorError", "InvalidPartitionsError")


@click.group()
def topics() -> None:
    """Topics of this installation."""


@topics.command("apply")
@click.option("--dry-run", is_flag=True, help="Create nothing; list what is missing and what differs.")
@with_output
def apply_command(dry_run: bool, output: str) -> None:
    """Create what is missing, change nothing that exists, list what differs.

    Exit 1 when a worker could not start on what exists, 4 when the broker refused to create a topic.
    """
    silence_clients()
    settings = load_settings()
    reports = asyncio.run(apply_topics(settings, load_registry(settings.registry), dry_run=dry_run))
    show(output, {"topics": reports}, _page(reports))
    _raise_for(reports)


@topics.command("grow")
@click.option("--partitions", type=click.IntRange(min=1), required=True, metavar="N", help="The new partition count.")
@click.option("--despite-verify", is_flag=True, help="Grow also where `verify` finds faults; none may be added.")
@with_why
@with_ticket
def grow_command(partitions: int, despite_verify: bool, why: str | None, ticket: str | None) -> None:
    """Bring every topic that carries a prospect, and all that the gate knows, to a higher partition count.

    Stop the producers, wait until everything is decided, stop all workers, then run this; see docs/how-to/grow.md. Run
    it again if it was interrupted. Exit 3 when there is nothing to do, 5 while a worker runs or inputs are undecided.
    """
    silence_clients()
    settings = load_settings()
    registry = load_registry(settings.registry)

    async def run(session: Session) -> Grown:
        event = audit_event(settings, "topics grow", why=why, ticket=ticket, details={"partitions": partitions})
        async with audited(session, event) as ending:
            grown = await grow(
                session, registry, partitions, despite_verify=despite_verify, say=lambda line: echo(line, err=True)
            )
            ending.details = msgspec.to_builtins(grown)
        return grown

    with _only_errors("transfer_gate.gate"):
        grown = in_session(settings, run)
    echo(
        f"{grown.partitions} partitions: {grown.states:,} states and {grown.entries:,} ledger entries are in their "
        f"places, {grown.events:,} consent events were applied; workers may start"
    )
    if grown.undecided:
        echo(
            f"{grown.undecided:,} offsets of transfers and replays are not decided: those in another partition than "
            "their key's now will be quarantined (key-misplaced); replay them",
            err=True,
        )


@contextmanager
def _only_errors(name: str) -> Iterator[None]:
    """Events that are applied are counted, and reported in a single line."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _page(reports: tuple[TopicReport, ...]) -> Iterator[str | Table]:
    rows = [(report.topic, _count(report.partitions), _count(report.replication), report.action) for report in reports]
    yield table(rows, "topic", "partitions", "replication", "")
    differing = _grouped((_line(difference), report.topic) for report in reports for difference in report.differences)
    for line, names in differing.items():
        yield f"{line}: {', '.join(names)}"


def _count(found: int | None) -> str:
    return "-" if found is None else str(found)


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
        raise PartiallyFailed(message, do="fix the cause and run the command again: what exists stays as it is")
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
