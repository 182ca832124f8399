"""`transfer-gate ingest`: consent events of consent platforms, by webhook."""

from pathlib import Path

import click

from transfer_gate.cli.printing import echo
from transfer_gate.errors import CheckFailed, NothingMatched
from transfer_gate.settings import load_settings


@click.group()
def ingest() -> None:
    """Take webhooks of consent platforms, and write what they say to consent-events.

    Sources are the files of TRANSFER_GATE_INGEST_SOURCES: docs/how-to/consent-platforms.md.
    """


@ingest.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path, exists=True))
def test(paths: tuple[Path, ...]) -> None:
    """Run the cases beside the source files PATH, or in the folders; default: TRANSFER_GATE_INGEST_SOURCES.

    Exit 0 when all pass, 1 when one fails, 2 when a file is wrong, 3 when there is no case.
    """
    from transfer_gate.ingest.cases import run_cases, sources_at

    outcomes = []
    for file in sources_at(paths or (load_settings().ingest_sources,)):
        own = run_cases(file)
        if not own:
            echo(f"{file.path}: no cases beside it ({file.cases.name})", err=True)
        outcomes += own
    failed = [outcome for outcome in outcomes if outcome.differences]
    for outcome in failed:
        echo(f"FAILED {outcome.path}:{outcome.line}: {outcome.name}")
        for difference in outcome.differences:
            echo(f"  {difference}")
    echo(f"{len(outcomes) - len(failed)} passed, {len(failed)} failed")
    if not outcomes:
        raise NothingMatched("no case found", do="write some: docs/how-to/consent-platforms.md")
    if failed:
        raise click.exceptions.Exit(CheckFailed.exit_code)
