"""`transfer-gate demo`: watch transfers flow through the gate, end to end."""

import click
from rich.console import Console

from transfer_gate.cli.render import echo
from transfer_gate.errors import CheckFailed
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.local.demo import DemoPlan, DemoResult, DemoStage, run_demo
from transfer_gate.local.demo.screen import DemoScreen, explained, partners_table, reasons_table
from transfer_gate.settings import load_settings


@click.command()
@click.option("--keep", is_flag=True, help="Leave Kafka and the worker running afterwards.")
@click.option("--prospects", type=click.IntRange(100, 1_000_000), default=20_000, show_default=True)
@click.option("--transfers", type=click.IntRange(100, 10_000_000), default=50_000, show_default=True)
@click.option("--seed", type=int, default=7, show_default=True, help="Equal seeds invent equal people.")
def demo(keep: bool, prospects: int, transfers: int, seed: int) -> None:
    """Stream invented prospects through a real Kafka to partner topics and quarantine, while people withdraw consent.

    Starts a Kafka of its own unless TRANSFER_GATE_BOOTSTRAP_SERVERS is set; on a cluster of yours every topic of the
    demo has a unique prefix, and is deleted at the end. Exit 1 when a promise was broken.
    """
    silence_clients()
    settings = load_settings()
    own_kafka = "bootstrap_servers" not in settings.model_fields_set
    plan = DemoPlan(own_kafka=own_kafka, prospects=prospects, transfers=transfers, seed=seed, keep=keep)
    screen = DemoScreen()
    result, stage = run_demo(settings, plan, screen)
    _report(result, screen)
    _what_next(stage, keep)
    if not result.holds:
        raise CheckFailed("the demo broke a promise", do="this is a defect: please report it with the output above")


def _report(result: DemoResult, screen: DemoScreen) -> None:
    out = Console(highlight=False, soft_wrap=True)
    counts, feed = result.account.counts, result.feed
    out.print()
    out.print(partners_table(result.watch))
    out.print()
    out.print(reasons_table(result.watch, 12))
    out.print("\n[bold]three of them explained[/bold]")
    for lines in explained(result.watch.examples):
        out.print("\n".join(lines), markup=False)
    out.print(
        f"\n[bold]checks[/bold] ({counts.inputs:,} transfers in {result.seconds:.0f} s, demo {screen.elapsed:.0f} s)"
    )
    out.print(
        f"  verify: {counts.expected:,} expected = {counts.released:,} released + {counts.quarantined:,} quarantined; "
        f"missing {counts.missing}, duplicated {counts.duplicated}, misrouted {counts.misrouted}"
    )
    out.print(
        f"  withdrawals during the run: {feed.changes}, releases after an acknowledged withdrawal: {result.leaks} "
        f"(of {len(feed.behind)} transfers sent behind a withdrawal)"
    )
    out.print(
        f"  beside them, of people who did not withdraw: {result.controls_released} of {len(feed.controls)} released"
    )


def _what_next(stage: DemoStage, keep: bool) -> None:
    settings = stage.settings
    if keep:
        echo()
        echo("still running; to look around:")
        echo(f"  export TRANSFER_GATE_BOOTSTRAP_SERVERS={settings.bootstrap_servers}")
        echo(f"  export TRANSFER_GATE_APP_ID={settings.app_id} TRANSFER_GATE_REGISTRY={settings.registry}")
        if settings.topic_prefix:
            echo(f"  export TRANSFER_GATE_TOPIC_PREFIX={settings.topic_prefix}")
        echo("  transfer-gate doctor; transfer-gate verify")
        echo(f"  metrics: http://127.0.0.1:{settings.metrics_port}/metrics   log: {stage.worker.log}")
        echo("and to stop it:")
        echo(f"  kill {stage.worker.pid}")
        if stage.kafka is not None:
            echo(f"  transfer-gate kafka stop --data-dir {stage.kafka.data_dir}; rm -r {stage.folder}")
        return
    echo()
    echo("what to try next")
    echo("  transfer-gate demo --keep                  look around afterwards")
    echo("  transfer-gate registry check examples/registry")
    echo("  transfer-gate kafka start                  a Kafka to develop against, then: topics apply, worker")
    echo("  docs/                                      what the gate checks and why")
