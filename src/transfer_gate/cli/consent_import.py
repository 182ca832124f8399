"""`transfer-gate consent import`: consents in a file become consent events."""

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import click
from msgspec.structs import asdict

from transfer_gate.cli.options import FILE, with_output, with_progress, with_ticket, with_why
from transfer_gate.cli.render import echo, passing, show
from transfer_gate.errors import InvalidInput, NothingMatched, PartiallyFailed
from transfer_gate.imports.forecast import Forecast, open_book
from transfer_gate.imports.mapping import load_mapping
from transfer_gate.imports.rows import FORMATS, Format, Reject
from transfer_gate.imports.run import Counts, Import, Source, chunks, job_of, open_source
from transfer_gate.imports.writing import open_writer
from transfer_gate.kafka.session import Session, in_session
from transfer_gate.operators import audit_event, audited
from transfer_gate.registry import load_registry
from transfer_gate.settings import load_settings

#: Rejected rows that are listed, and reasons that are counted.
_SHOWN: Final = 20


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--mapping",
    "mapping_file",
    type=FILE,
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
@with_why
@with_ticket
@with_output
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
    output: str,
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
        raise InvalidInput(f"{file}: its name has no known ending", do="give --format csv, jsonl or parquet")
    mapping = load_mapping(mapping_file)
    source = Source(file=file, form=known, mapping=mapping, folder=work_dir or file.parent)
    nobody = frozenset(load_registry(settings.registry).policy.unidentified_ids)
    if dry_run:
        in_session(settings, lambda session: _dry_run(session, source, nobody, chunk_rows, output, progress))
        return

    async def run(session: Session) -> None:
        with open_source(source, nobody) as read:
            async with open_writer(session) as writer:
                size = source.file.stat().st_size
                with passing(f"hash of {source.file.name}, bytes", progress, size) as seen:
                    job = job_of(source, settings, writer, seen)
                with closing(Import(source, job, restart=restart)) as import_:
                    details = {
                        "file": source.file.name,
                        "file_sha256": job.file_sha256,
                        "mapping": source.mapping.path.name,
                        "mapping_sha256": job.mapping_sha256,
                        "after_row": import_.resumed_after,
                    }
                    event = audit_event(settings, "consent import", why=why, ticket=ticket, details=details)
                    if import_.resumed_after:
                        echo(f"goes on after row {import_.resumed_after:,}", err=True)
                    async with audited(session, event) as ending:
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

    in_session(settings, run)


async def _dry_run(
    session: Session, source: Source, nobody: frozenset[str], chunk_rows: int, output: str, progress: bool | None
) -> None:
    counts, faults = Counts(), _Faults()
    with open_source(source, nobody) as read, open_book(session.settings.bounds) as book:
        with passing(f"{source.file.name}, {read.rows.unit}", progress, read.rows.total) as seen:
            read_to = read.rows.position
            async for chunk in chunks(read.rows, read.mapper, 0, chunk_rows):
                book.take(chunk.events)
                faults.take(chunk.rejects)
                counts = counts.plus(chunk.counts)
                seen(read.rows.position - read_to)
                read_to = read.rows.position
        read.require_unchanged()
        await book.take_states(session)
        forecast = book.forecast()
    value = _counted(counts) | {"prospects": asdict(forecast), "faults": faults.listed()}
    show(output, value, [*_count_lines(counts), *_forecast_lines(forecast)])
    if output != "json":
        faults.print_all()
    _require_rows(counts, source)
    if counts.rejected:
        raise PartiallyFailed(
            f"{counts.rejected:,} of {counts.rows:,} rows would be rejected; nothing was sent",
            do="correct the mapping or the rows; docs/how-to/bring-your-consents.md",
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
        return [{"row": reject.number, "column": reject.column, "reason": reject.reason} for reject in self._first]

    def print_all(self) -> None:
        for reject in self._first:
            where = f"row {reject.number:,}" + (f", column {reject.column}" if reject.column else "")
            echo(f"{where}: {reject.reason}", err=True)
        if len(self._first) < sum(self._counts.values()):
            for reason, count in sorted(self._counts.items(), key=lambda item: -item[1])[:_SHOWN]:
                echo(f"{count:>12,} rows: {reason}", err=True)


def _report(source: Source, counts: Counts, resumed_after: int, output: str) -> None:
    rejects = str(source.rejects) if counts.rejected else None
    show(output, _counted(counts) | {"resumed_after": resumed_after, "rejected_file": rejects}, _count_lines(counts))
    _require_rows(counts, source)
    if counts.rejected:
        may = counts.rejected_may_forbid
        warning = f"; {may:,} of them may have been a withdrawal, objection, erasure or restriction" if may else ""
        raise PartiallyFailed(
            f"{counts.rejected:,} of {counts.rows:,} rows were rejected{warning}",
            do=f"see the reasons in {rejects}, correct the rows there, and import that file",
        )


def _require_rows(counts: Counts, source: Source) -> None:
    if not counts.rows:
        raise NothingMatched(f"{source.file} has no rows", do="nothing is to be imported")


def _counted(counts: Counts) -> dict[str, Any]:
    return asdict(counts) | {"events": dict(sorted(counts.events.items()))}


def _count_lines(counts: Counts) -> Iterator[str]:
    yield f"{'rows':<24}{counts.rows:>12,}"
    for kind, count in sorted(counts.events.items()):
        yield f"{f'  {kind}':<24}{count:>12,}"
    if counts.skipped:
        yield f"{'  passed over':<24}{counts.skipped:>12,}"
    yield f"{'  rejected':<24}{counts.rejected:>12,}"


def _forecast_lines(forecast: Forecast) -> Iterator[str]:
    yield f"{'prospects':<24}{forecast.prospects:>12,}"
    yield f"{'  would change':<24}{forecast.changed:>12,}"
    yield f"{'  of these new':<24}{forecast.new:>12,}"
