"""`transfer-gate quarantine`: list what is quarantined, show and explain it, export it, discard it."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, Literal

import click
import msgspec

from transfer_gate.cli import quarantine_text
from transfer_gate.cli.options import (
    FILE,
    as_id,
    filter_of,
    reason_given,
    together,
    with_any_output,
    with_filter,
    with_output,
    with_progress,
    with_ticket,
    with_wait,
    with_why,
)
from transfer_gate.cli.render import echo, passing, show
from transfer_gate.errors import InvalidInput, NothingMatched, PartiallyFailed, RefusedByGuard
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.kafka.session import Session, in_session
from transfer_gate.operators import audit_event, audited, record_audit_events
from transfer_gate.quarantine import search
from transfer_gate.quarantine.discard import Chosen, Outcome, choose, discard
from transfer_gate.quarantine.export import export as export_records
from transfer_gate.quarantine.export import shared_domains
from transfer_gate.quarantine.search import filter_details
from transfer_gate.settings import PREFIX, load_settings

#: Records of a page that is not streamed, unless --limit says otherwise.
_PAGE: Final = 100

_open_only = click.option("--open-only", is_flag=True, help="Only what is neither replayed nor discarded.")
_reveal = click.option("--reveal", is_flag=True, help="Show what is masked; needs --why, and is audited.")
_partition = click.option(
    "--partition", type=click.IntRange(min=0), help="Read this partition alone (the first part of a place)."
)
_of_record = together(
    click.argument("quarantine_id", metavar="ID"),
    _partition,
    click.option("--offset", type=click.IntRange(min=0), default=0, help="Begin here, in --partition."),
    _reveal,
    with_why,
    with_output,
    with_progress,
)


@click.group()
def quarantine() -> None:
    """List what is quarantined, show and explain it, export it, discard it."""
    silence_clients()


@quarantine.command("list")
@with_filter
@_open_only
@click.option("--counts", is_flag=True, help="Count records by partner and first reason instead.")
@click.option("--limit", type=click.IntRange(min=1), help=f"At most so many; default: {_PAGE}, none with jsonl.")
@click.option("--after", metavar="PLACE", help="Go on behind this place (partition:offset): the end of the last page.")
@_partition
@_reveal
@with_why
@with_any_output
@with_progress
def list_command(
    open_only: bool,
    counts: bool,
    limit: int | None,
    after: str | None,
    partition: int | None,
    reveal: bool,
    why: str | None,
    output: str,
    progress: bool | None,
    **given: Any,
) -> None:
    """List quarantined records by place; prospects are masked without --prospect or --reveal.

    Reads from --since to --until only: brokers find both by their time index. Exit 3 when nothing matches.
    """
    settings = load_settings()
    wanted = filter_of(given, open_only=open_only)
    named = reveal or wanted.prospect_id is not None
    most = limit or (None if output == "jsonl" or counts else _PAGE)
    text = reason_given(why, "showing who is in quarantine") if reveal else None
    behind = _position(after)

    async def run(session: Session) -> None:
        if text is not None:
            details = filter_details(wanted)
            await record_audit_events(
                session, [audit_event(settings, "quarantine list", "revealed", why=text, details=details)]
            )
        view = await search.look(session, wanted, after=behind, partition=partition)
        with passing("quarantine", progress, view.offsets) as seen:
            async with aclosing(search.found_in(session, wanted, view, seen)) as found:
                if counts:
                    show(output, *await quarantine_text.tally(found))
                    return
                following = await quarantine_text.print_page(found, most, output, reveal=named)
        if following is not None and output != "json":
            echo(f"there is more: --after {following}", err=True)

    in_session(settings, run)


@quarantine.command("show")
@_of_record
def show_command(why: str | None, reveal: bool, output: str, **given: Any) -> None:
    """Show a record: every attempt, its ledger entry, its headers, its payload with everything personal masked.

    --reveal prints the payload and the prospect; it is written to the audit topic first. An id has no position, so
    quarantine is read until it is found: --partition and --offset shorten that.
    """
    text = reason_given(why, "showing a payload") if reveal else None
    _print_record(lambda session, life: quarantine_text.whole_record(session, life, text), output, **given)


@quarantine.command("explain")
@_of_record
def explain_command(why: str | None, reveal: bool, output: str, **given: Any) -> None:
    """Explain a record: why it was quarantined, and what the gate would decide now, side by side.

    Then: from the decision record, without the payload. Now: a fresh decision with the consent and the registry of
    this moment, which needs the payload; nothing is sent. --reveal adds the facts that each rule read, birth date
    included; it is audited.
    """
    text = reason_given(why, "showing the facts about a person") if reveal else None
    _print_record(lambda session, life: quarantine_text.explained_record(session, life, text), output, **given)


def _print_record(
    view_of: Callable[[Session, search.Life], Awaitable[quarantine_text.Shown]],
    output: str,
    *,
    quarantine_id: str,
    partition: int | None,
    offset: int,
    progress: bool | None,
) -> None:
    settings, wanted = load_settings(), as_id(quarantine_id)
    if offset and partition is None:
        raise click.UsageError("--offset needs --partition")

    async def run(session: Session) -> quarantine_text.Shown:
        with passing("quarantine", progress) as seen:
            life = await search.life_of(session, wanted, partition=partition, offset=offset, on_progress=seen)
        return await view_of(session, life)

    show(output, *in_session(settings, run))


@quarantine.command()
@click.argument("file", type=FILE)
@click.option("--format", "file_format", type=click.Choice(["jsonl", "parquet"]), default="jsonl", show_default=True)
@with_filter
@_open_only
@_partition
@with_why
@with_ticket
@with_progress
def export(
    file: Path,
    file_format: Literal["jsonl", "parquet"],
    open_only: bool,
    partition: int | None,
    why: str | None,
    ticket: str | None,
    progress: bool | None,
    **given: Any,
) -> None:
    """Write records to FILE, masked: for a spreadsheet, a notebook, a ticket. The export itself is audited.

    Exit 3 when nothing matches; FILE is not written then. FILE must not exist.
    """
    settings = load_settings()
    wanted = filter_of(given, open_only=open_only)

    async def run(session: Session) -> int:
        details = filter_details(wanted) | {"to": file.name}
        event = audit_event(settings, "quarantine export", why=why, ticket=ticket, details=details)
        async with audited(session, event) as ending:
            view = await search.look(session, wanted, partition=partition)
            domains = shared_domains(settings)
            with passing("quarantine", progress, view.offsets) as seen:
                count = await export_records(
                    session, wanted, view, file, file_format, domains=domains, on_progress=seen
                )
            ending.details = {"records": count}
        return count

    count = in_session(settings, run)
    if not count:
        raise NothingMatched("nothing in quarantine matches", do="widen the filter")
    echo(f"{file}: {count:,} records, masked", err=True)


@quarantine.command("discard")
@click.argument("ids", metavar="[ID...]", nargs=-1)
@with_filter
@_partition
@with_why
@with_ticket
@click.option("--dry-run", is_flag=True, help="Print what would be discarded; change nothing.")
@click.option("--yes", is_flag=True, help="Discard more than TRANSFER_GATE_DISCARD_CONFIRM_RECORDS.")
@with_wait
@with_progress
def discard_command(
    ids: tuple[str, ...],
    partition: int | None,
    why: str | None,
    ticket: str | None,
    dry_run: bool,
    yes: bool,
    wait_seconds: float,
    progress: bool | None,
    **given: Any,
) -> None:
    """Give records up for good: what is discarded can never be replayed. The gate itself writes it into the ledger.

    Name records by ID or by filter. Unreadable consent events are left alone: `consent resolve` settles them. Exit 3
    when nothing open matches, 4 when some could not be discarded, 5 when a guard refuses.
    """
    settings = load_settings()
    wanted = filter_of(given, ids=[as_id(text) for text in ids])
    if not ids and not any(given.values()):
        raise click.UsageError("name records by ID or by a filter, such as --partner")
    text = why or "" if dry_run else reason_given(why, "discarding")

    async def run(session: Session) -> None:
        with passing("quarantine", progress) as seen:
            chosen = await choose(session, wanted, seen, partition=partition, consents=False)
        _report_missed(chosen)
        if not chosen.count:
            raise NothingMatched("nothing open in quarantine matches", do="see: transfer-gate quarantine list")
        if dry_run:
            echo(f"would discard {chosen.count:,} records ({chosen.digest}); nothing was changed")
            return
        if chosen.count > settings.discard_confirm_records and not yes:
            raise RefusedByGuard(
                f"the size guard refuses: {chosen.count:,} records, more than {settings.discard_confirm_records:,}",
                do=f"look at them with --dry-run, then give --yes ({PREFIX}DISCARD_CONFIRM_RECORDS sets the size)",
            )
        details = filter_details(wanted) | {"records": chosen.count}
        event = audit_event(
            settings, "quarantine discard", why=text, ticket=ticket, digest=chosen.digest, details=details
        )
        async with audited(session, event) as ending:
            with passing("discard", progress, chosen.view.offsets) as seen:
                outcome = await discard(session, wanted, chosen, text, wait_seconds, seen)
            ending.details = msgspec.to_builtins(outcome)
            _report(outcome)
        if chosen.missed:
            raise PartiallyFailed(f"{len(chosen.missed)} of the ids are not open", do="see the lines above")

    in_session(settings, run)


def _report(outcome: Outcome) -> None:
    echo(f"discarded {outcome.discarded:,} of {outcome.sent:,} records ({outcome.run})")
    if outcome.pending:
        raise PartiallyFailed(
            f"{outcome.pending:,} records are sent, but no gate has answered yet",
            do="start a worker: it discards them when it reads the request; a second request changes nothing",
        )
    if outcome.discarded < outcome.sent:
        raise PartiallyFailed(
            f"{outcome.sent - outcome.discarded:,} records were replayed or settled by another operator meanwhile",
            do="see: transfer-gate quarantine list",
        )


def _report_missed(chosen: Chosen) -> None:
    for quarantine_id in sorted(chosen.missed):
        echo(f"not open, or not in quarantine: {quarantine_id}", err=True)
    if chosen.left:
        echo(f"left alone: {chosen.left:,} unreadable consent events; see: transfer-gate consent unreadable", err=True)


def _position(text: str | None) -> search.Place | None:
    if text is None:
        return None
    partition, _, offset = text.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise InvalidInput(
            f"--after {text}: not a position", do="write it as partition:offset, as the last page printed it"
        )
    return search.Place(int(partition), int(offset))
