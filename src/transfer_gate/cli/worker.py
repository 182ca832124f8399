"""`transfer-gate worker`: decide transfers until told to stop."""

import asyncio

import click

from transfer_gate.cli import acts
from transfer_gate.kafka.session import open_session
from transfer_gate.observe.logs import configure_logs
from transfer_gate.settings import Settings, load_settings


@click.command()
@click.option(
    "--allow-older-registry",
    is_flag=True,
    help="Decide by a registry that is older than the one that decided last: a rollback. Audited.",
)
@acts.with_why
def worker(allow_older_registry: bool, why: str | None) -> None:
    """Decide transfers until SIGTERM or Ctrl-C; then finish the round that runs, and exit 0.

    Several workers with the same TRANSFER_GATE_APP_ID share the partitions.
    """
    settings = load_settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    configure_logs(settings.log_format, settings.log_level)
    if allow_older_registry:
        text = acts.reason_given(why, "a rollback of the registry")
        asyncio.run(_record(settings, text))
    from transfer_gate.gate.worker import run_worker

    try:
        import uvloop
    except ImportError:
        asyncio.run(run_worker(settings, allow_older_registry=allow_older_registry))
    else:
        uvloop.run(run_worker(settings, allow_older_registry=allow_older_registry))


async def _record(settings: Settings, why: str) -> None:
    async with open_session(settings) as session:
        await acts.record(session, "worker", "allow-older-registry", why=why, details={})
