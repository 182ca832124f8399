"""`transfer-gate ingest`: consent events of consent platforms, by webhook."""

import asyncio
from pathlib import Path

import click

from transfer_gate.cli.render import echo
from transfer_gate.errors import CheckFailed, InvalidInput, NothingMatched
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.observe.logs import configure_logs
from transfer_gate.registry import load_registry
from transfer_gate.settings import load_settings


@click.group(invoke_without_command=True)
@click.pass_context
def ingest(context: click.Context) -> None:
    """Take webhooks of consent platforms until SIGTERM or Ctrl-C, and write what they say to consent-events.

    Sources are the files of TRANSFER_GATE_INGEST_SOURCES: docs/how-to/consent-platforms.md. A request is answered with
    200 once every in-sync replica has its events.
    """
    if context.invoked_subcommand is None:
        _serve()


def _serve() -> None:
    try:
        from transfer_gate.ingest.service import run_ingest
    except ImportError:
        raise InvalidInput(
            "ingest needs the libraries starlette, uvicorn and httptools", do="pip install 'transfer-gate[ingest]'"
        ) from None
    from transfer_gate.ingest.source_file import load_sources

    settings = load_settings()
    configure_logs(settings.log_format, settings.log_level)
    silence_clients()
    files = load_sources(settings.ingest_sources)
    nobody = frozenset(load_registry(settings.registry).policy.unidentified_ids)
    run = run_ingest(settings, files, nobody)
    try:
        import uvloop
    except ImportError:
        asyncio.run(run)
    else:
        uvloop.run(run)


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
