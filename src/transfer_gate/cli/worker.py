"""`transfer-gate worker`: decide transfers until told to stop."""

import asyncio

import click

from transfer_gate.observe.logs import configure_logs
from transfer_gate.settings import load_settings


@click.command()
def worker() -> None:
    """Decide transfers until SIGTERM or Ctrl-C; then finish the round that runs, and exit 0.

    Several workers with the same TRANSFER_GATE_APP_ID share the partitions.
    """
    settings = load_settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    configure_logs(settings.log_format, settings.log_level)
    from transfer_gate.stream.worker import run_worker  # Faust is slow to import: `--help` does without it

    try:
        import uvloop
    except ImportError:
        asyncio.run(run_worker(settings))
    else:
        uvloop.run(run_worker(settings))
