"""`transfer-gate quarantine`: look at what is held back, explain it, export it, give it up."""

from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal

import click

from transfer_gate.cli import acts, quarantine_text
from transfer_gate.cli.options import filter_of, with_filter
from transfer_gate.cli.progress import passing, with_progress
from transfer_gate.cli.quarantine_discard import discard_records
from transfer_gate.cli.render import echo
from transfer_gate.cli.sessions import in_session
from transfer_gate.errors import InvalidInput, NothingMatched
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.kafka.session import Session
from transfer_gate.quarantine import search
from transfer_gate.quarantine.export import shared_domains
from transfer_gate.quarantine.search import filter_details
from transfer_gate.settings import load_settings

#: Records of a page that is not streamed, unless --limit says otherwise.
_PAGE = 100

_reveal = click.option("--reveal", is_flag=True, help="Show what is masked; needs --why, and is audited.")
_partition = click.option(
    "--partition", type=click.IntRange(min=0), help="Read this partition alone (the first part of a place)."
)
_offset = click.option("--offset", type=click.IntRange(min=0), default=0, help="Begin here, in --partition.")
_output = click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)


@click.group()
def quarantine() -> None:
    """Look at what is held back, explain it, export it, give it up."""
    silence_clients()


@quarantine.command("list")
@with_filter
@click.option("--open-only", is_flag=True, help="Only what is neither replayed nor discarded.")
@click.option("--counts", is_flag=True, help="Count records by partner and first reason instead.")
@click.option("--limit", type=click.IntRange(min=1), help=f"At most so many; default: {_PAGE}, none with jsonl.")
@click.option("--after", metavar="PLACE", help="Go on behind this place (partition:offset), as the last page said.")
@_partition
@_reveal
@acts.with_why
@click.option("--output", type=click.Choice(["table", "json", "jsonl"]), default="table", show_default=True)
@with_progress
def list_command(
    open_only: bool,
    counts: bool,
    limit: int | None,
    after: str | None,
    partition: int | None,
    reveal: bool,
    why: str | None,
    output: Literal["table", "json", "jsonl"],
    progress: bool | None,
    **given: Any,
) -> None:
    """List what is held, by place; nobody is named unless --prospect or --reveal asks for it.

    Reads from --since to --until only: brokers find both by their time index. Exit 3 when nothing matches.
    """
    settings = load_settings()
    wanted = filter_of(given, open_only=open_only)
    named_ones = reveal or wanted.prospect_id is not None
    most = limit or (None if output == "jsonl" or counts else _PAGE)

    text = acts.reason_given(why, "showing who is in quarantine") if reveal else None
    behind = _position(after)

    async def run(session: Session) -> None:
        if text is not None:
            await acts.record(session, "quarantine list", "revealed", why=text, details=filter_details(wanted))
        view = await search.look(session, wanted, after=behind, partition=partition)
        with passing("quarantine", progress, view.offsets) as seen:
            async with aclosing(search.found_in(session, wanted, view, seen)) as found:
                if counts:
                    quarantine_text.print_tally(await quarantine_text.tally(found), output)
                    return
                following = await quarantine_text.print_page(found, most, output, reveal=named_ones)
        if following is not None and output != "json":
            echo(f"there is more: --after {following}", err=True)

    in_session(settings, run)


@quarantine.command()
@click.argument("quarantine_id", metavar="ID")
@_partition
@_offset
@_reveal
@acts.with_why
@_output
@with_progress
def show(
    quarantine_id: str,
    partition: int | None,
    offset: int,
    reveal: bool,
    why: str | None,
    output: Literal["table", "json"],
    progress: bool | None,
) -> None:
    """Show a record: every attempt, what became of it, its headers, its payload with everything personal masked.

    --reveal prints the payload and the prospect; it is written to the audit topic first. An id has no position, so
    quarantine is read until it is found: --partition and --offset shorten that.
    """
    from transfer_gate.cli.quarantine_show import show_record

    settings = load_settings()
    text = acts.reason_given(why, "showing a payload") if reveal else None
    wanted = acts.as_id(quarantine_id)

    async def run(session: Session) -> None:
        life = await _life(session, wanted, partition, offset, progress)
        await show_record(session, life, text, output)

    in_session(settings, run)


@quarantine.command()
@click.argument("quarantine_id", metavar="ID")
@_partition
@_offset
@_reveal
@acts.with_why
@_output
@with_progress
def explain(
    quarantine_id: str,
    partition: int | None,
    offset: int,
    reveal: bool,
    why: str | None,
    output: Literal["table", "json"],
    progress: bool | None,
) -> None:
    """Explain a record: which rules held it then, and what the gate would decide now, side by side.

    Then: from the decision record, without the payload. Now: a fresh decision with the consent and the registry of
    this moment, which needs the payload; nothing is sent. --reveal adds the facts that each rule read, birth date
    included; it is audited.
    """
    from transfer_gate.cli.quarantine_explain import explain_record

    settings = load_settings()
    text = acts.reason_given(why, "showing the facts about a person") if reveal else None
    wanted = acts.as_id(quarantine_id)

    async def run(session: Session) -> None:
        life = await _life(session, wanted, partition, offset, progress)
        await explain_record(session, life.attempts[-1], text, output)

    in_session(settings, run)


@quarantine.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--format", "file_format", type=click.Choice(["jsonl", "parquet"]), default="jsonl", show_default=True)
@with_filter
@click.option("--open-only", is_flag=True, help="Only what is neither replayed nor discarded.")
@_partition
@acts.with_why
@acts.with_ticket
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
    from transfer_gate.quarantine.export import export as export_records

    settings = load_settings()
    wanted = filter_of(given, open_only=open_only)

    async def run(session: Session) -> int:
        details = filter_details(wanted) | {"to": file.name}
        async with acts.audited(session, "quarantine export", why=why, ticket=ticket, details=details) as ending:
            view = await search.look(session, wanted, partition=partition)
            with passing("quarantine", progress, view.offsets) as seen:
                domains = shared_domains(settings)
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
@acts.with_why
@acts.with_ticket
@click.option("--dry-run", is_flag=True, help="Say what would be discarded; change nothing.")
@click.option("--yes", is_flag=True, help="Discard more than TRANSFER_GATE_DISCARD_CONFIRM_RECORDS.")
@acts.with_wait
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
    wanted = filter_of(given, ids=[acts.as_id(text) for text in ids])
    if not ids and not any(given.values()):
        raise click.UsageError("name records by ID or by a filter, such as --partner")
    text = why or "" if dry_run else acts.reason_given(why, "discarding")

    async def run(session: Session) -> None:
        await discard_records(
            session,
            wanted,
            text,
            ticket,
            wait_seconds,
            partition=partition,
            dry_run=dry_run,
            yes=yes,
            progress=progress,
        )

    in_session(settings, run)


async def _life(
    session: Session, quarantine_id: str, partition: int | None, offset: int, progress: bool | None
) -> search.Life:
    if offset and partition is None:
        raise click.UsageError("--offset needs --partition")
    with passing("quarantine", progress) as seen:
        return await search.life_of(session, quarantine_id, partition=partition, offset=offset, on_progress=seen)


def _position(text: str | None) -> search.Place | None:
    if text is None:
        return None
    partition, _, offset = text.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise InvalidInput(f"--after {text}: not a position", do="write it as partition:offset, as the last page said")
    return search.Place(int(partition), int(offset))
