"""`transfer-gate consent import`: consents that stand in a file become consent events."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click
from msgspec.structs import asdict

from transfer_gate.cli import acts
from transfer_gate.cli.progress import passing, with_progress
from transfer_gate.cli.render import echo, echo_json
from transfer_gate.errors import InvalidInput, NothingMatched, PartiallyFailed
from transfer_gate.imports.checkpoint import Counts
from transfer_gate.imports.chunks import chunks
from transfer_gate.imports.forecast import Forecast, open_book
from transfer_gate.imports.mapping_file import load_mapping
from transfer_gate.imports.rejects import Reject
from transfer_gate.imports.rows import FORMATS, Format
from transfer_gate.imports.run import Import, Source, job_of, open_source
from transfer_gate.imports.writing import open_writer
from transfer_gate.kafka.session import open_session
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings, load_settings

#: Rejected rows that are shown, the first of each kind.
_SHOWN = 20


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--mapping",
    "mapping_file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Which events the rows are (YAML).",
)
@click.option("--format", "form", type=click.Choice(["csv", "jsonl", "parquet"]), help="Default: by the end of FILE.")
@click.option("--dry-run", is_flag=True, help="Count what would be sent and who would change; send and write nothing.")
@click.option("--restart", is_flag=True, help="Import from the first row, whatever an earlier run did.")
@click.option(
    "--work-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where rejected rows and the checkpoint go; default: beside FILE.",
)
@click.option(
    "--chunk-rows",
    type=click.IntRange(min=1, max=100_000),
    default=10_000,
    show_default=True,
    help="Rows between two checkpoints: what is repeated at most after kill -9.",
)
@acts.with_why
@acts.with_ticket
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@with_progress
def import_command(
    file: Path,
    mapping_file: Path,
    form: Format | None,
    dry_run: bool,
    restart: bool,
    work_dir: Path | None,
    chunk_rows: int,
    why: str | None,
    ticket: str | None,
    output: Literal["table", "json"],
    progress: bool | None,
) -> None:
    """Import the consents, withdrawals, objections … of FILE (CSV, JSON lines, Parquet) as consent events; audited.

    Order and repetition don't matter. Run again after an interruption, it goes on where it was. Rows that can't be
    mapped go to a file beside FILE. Exit 2 on a wrong mapping, 3 when there is nothing (more) to import, 4 when rows
    were rejected, 5 when FILE or mapping have changed since an unfinished import.
    """
    settings = load_settings()
    known = form or FORMATS.get(file.suffix.lower())
    if known is None:
        raise InvalidInput(f"{file}: its name does not tell its format", do="give --format csv, jsonl or parquet")
    mapping = load_mapping(mapping_file)
    source = Source(file=file, form=known, mapping=mapping, folder=work_dir or file.parent)
    nobody = frozenset(load_registry(settings.registry).policy.unidentified_ids)
    if dry_run:
        asyncio.run(_dry_run(settings, source, nobody, chunk_rows, output, progress))
    else:
        asyncio.run(_import(settings, source, nobody, chunk_rows, why, ticket, output, progress, restart=restart))


async def _import(
    settings: Settings,
    source: Source,
    nobody: frozenset[str],
    chunk_rows: int,
    why: str | None,
    ticket: str | None,
    output: str,
    progress: bool | None,
    *,
    restart: bool,
) -> None:
    with open_source(source, nobody) as read:
        async with open_session(settings) as session, open_writer(session) as writer:
            size = source.file.stat().st_size
            with passing(f"hash of {source.file.name}, bytes", progress, size) as seen:
                job = job_of(source, settings, writer, seen)
            with _held(Import(source, job, restart=restart)) as import_:
                details = {
                    "file": source.file.name,
                    "file_sha256": job.file_sha256,
                    "mapping": source.mapping.path.name,
                    "mapping_sha256": job.mapping_sha256,
                    "after_row": import_.resumed_after,
                }
                if import_.resumed_after:
                    echo(f"goes on after row {import_.resumed_after:,}", err=True)
                async with acts.audited(session, "consent import", why=why, ticket=ticket, details=details) as ending:
                    try:
                        what = f"{source.file.name}, {read.rows.unit}"
                        with passing(what, progress, read.rows.total) as seen:
                            await import_.run(read, writer, chunk_rows, seen)
                    finally:
                        ending.details = asdict(import_.counts)
                        if sys.exc_info()[0] is not None:
                            done = f"the events of {import_.counts.rows:,} rows are acknowledged"
                            echo(f"{done}; run the same command to go on", err=True)
                _report(source, import_.counts, import_.resumed_after, output)


async def _dry_run(
    settings: Settings, source: Source, nobody: frozenset[str], chunk_rows: int, output: str, progress: bool | None
) -> None:
    counts, faults = Counts(), _Faults()
    with open_source(source, nobody) as read, open_book(settings.bounds) as book:
        with passing(f"{source.file.name}, {read.rows.unit}", progress, read.rows.total) as seen:
            read_to = read.rows.position
            async for chunk in chunks(read.rows, read.mapper, 0, chunk_rows):
                book.take(chunk.events)
                faults.take(chunk.rejects)
                counts = counts.plus(chunk.counts)
                seen(read.rows.position - read_to)
                read_to = read.rows.position
        read.require_unchanged()
        async with open_session(settings) as session:
            await book.take_states(session)
        forecast = book.forecast()
    if output == "json":
        echo_json(_counted(counts) | {"prospects": asdict(forecast), "faults": faults.listed()})
    else:
        _print_counts(counts)
        _print_forecast(forecast)
        faults.print_them()
    _require_rows(counts, source)
    if counts.rejected:
        raise PartiallyFailed(
            f"{counts.rejected:,} of {counts.rows:,} rows would be rejected; nothing was sent",
            do="put mapping or rows right; docs/how-to/bring-your-consents.md",
        )
    echo("nothing was sent", err=True)


class _Faults:
    """The first rejected rows, and how many rows share each reason."""

    def __init__(self) -> None:
        self._first: list[Reject] = []
        self._counts: dict[str, int] = {}

    def take(self, rejects: list[Reject]) -> None:
        for reject in rejects:
            if reject.explanation in self._counts or len(self._counts) < 10 * _SHOWN:
                self._counts[reject.explanation] = self._counts.get(reject.explanation, 0) + 1
            if len(self._first) < _SHOWN:
                self._first.append(reject)

    def listed(self) -> list[dict[str, Any]]:
        return [{"row": one.number, "column": one.column, "reason": one.reason} for one in self._first]

    def print_them(self) -> None:
        for one in self._first:
            where = f"row {one.number:,}" + (f", column {one.column}" if one.column else "")
            echo(f"{where}: {one.reason}", err=True)
        if len(self._first) < sum(self._counts.values()):
            for reason, count in sorted(self._counts.items(), key=lambda item: -item[1])[:_SHOWN]:
                echo(f"{count:>12,} rows: {reason}", err=True)


def _report(source: Source, counts: Counts, resumed_after: int, output: str) -> None:
    rejects = str(source.rejects) if counts.rejected else None
    if output == "json":
        echo_json(_counted(counts) | {"resumed_after": resumed_after, "rejected_file": rejects})
    else:
        _print_counts(counts)
    _require_rows(counts, source)
    if counts.rejected:
        may = counts.rejected_may_forbid
        warning = f"; {may:,} of them may have been a withdrawal, objection, erasure or restriction" if may else ""
        raise PartiallyFailed(
            f"{counts.rejected:,} of {counts.rows:,} rows were rejected{warning}",
            do=f"see the reasons in {rejects}, put the rows right there, and import that file",
        )


def _require_rows(counts: Counts, source: Source) -> None:
    if not counts.rows:
        raise NothingMatched(f"{source.file} has no rows", do="nothing is to be imported")


def _counted(counts: Counts) -> dict[str, Any]:
    return asdict(counts) | {"events": dict(sorted(counts.events.items()))}


def _print_counts(counts: Counts) -> None:
    echo(f"{'rows':<24}{counts.rows:>12,}")
    for kind, count in sorted(counts.events.items()):
        echo(f"{f'  {kind}':<24}{count:>12,}")
    if counts.skipped:
        echo(f"{'  passed over':<24}{counts.skipped:>12,}")
    echo(f"{'  rejected':<24}{counts.rejected:>12,}")


def _print_forecast(forecast: Forecast) -> None:
    echo(f"{'prospects':<24}{forecast.prospects:>12,}")
    echo(f"{'  would change':<24}{forecast.changed:>12,}")
    echo(f"{'  of these new':<24}{forecast.new:>12,}")


@contextmanager
def _held(import_: Import) -> Iterator[Import]:
    try:
        yield import_
    finally:
        import_.close()
