"""`transfer-gate worker | ingest`: the processes that run until SIGTERM or Ctrl-C."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from transfer_gate.cli.options import reason_given, with_why
from transfer_gate.cli.render import echo
from transfer_gate.errors import CheckFailed, InvalidInput, NothingMatched
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.kafka.session import in_session
from transfer_gate.observe.logs import configure_logs
from transfer_gate.operators import audit_event, record_audit_events
from transfer_gate.registry import load_registry
from transfer_gate.settings import load_settings


def _run(service: Coroutine[Any, Any, None]) -> None:
    """Run a service to its end, by uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(service)
    else:
        uvloop.run(service)


@click.command()
@click.option(
    "--allow-older-registry",
    is_flag=True,
    help="Decide by a registry that is older than that of the last decisions: a rollback. Audited.",
)
@with_why
def worker(allow_older_registry: bool, why: str | None) -> None:
    """Decide transfers until SIGTERM or Ctrl-C; then finish the round that runs, and exit 0.

    Several workers with the same TRANSFER_GATE_APP_ID share the partitions.
    """
    settings = load_settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    configure_logs(settings.log_format, settings.log_level)
    if allow_older_registry:
        text = reason_given(why, "a rollback of the registry")
        event = audit_event(settings, "worker", "allow-older-registry", why=text)
        in_session(settings, lambda session: record_audit_events(session, [event]))
    from transfer_gate.gate.worker import run_worker

    _run(run_worker(settings, allow_older_registry=allow_older_registry))


@click.group(invoke_without_command=True)
@click.pass_context
def ingest(context: click.Context) -> None:
    """Take webhooks of consent platforms until SIGTERM or Ctrl-C, and write their events to consent-events.

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
    from transfer_gate.ingest.source import load_sources

    settings = load_settings()
    configure_logs(settings.log_format, settings.log_level)
    silence_clients()
    files = load_sources(settings.ingest_sources)
    _run(run_ingest(settings, files, frozenset(load_registry(settings.registry).policy.unidentified_ids)))


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
