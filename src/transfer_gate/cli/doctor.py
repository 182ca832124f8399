"""`transfer-gate doctor`: each line `ok`, `warn` or `FAIL`, and what to do."""

import asyncio
from typing import Literal

import click

from transfer_gate.cli.render import echo, echo_json
from transfer_gate.doctor import examine
from transfer_gate.errors import BrokerUnavailable, CheckFailed
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.settings import load_settings

_COLOURS = {"ok": "green", "warn": "yellow", "FAIL": "red"}


@click.command()
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def doctor(output: Literal["table", "json"]) -> None:
    """Check broker, topics, registry, clock and versions; change nothing.

    Exit 1 when a line says FAIL, 6 when no broker answers.
    """
    silence_clients()
    findings, answered = asyncio.run(examine(load_settings()))
    if output == "json":
        echo_json({"findings": findings})
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            status = click.style(f"{finding.status:<4}", fg=_COLOURS[finding.status])
            echo(f"  {finding.check:<{width}}  {finding.found}", styled=status)
            if finding.do and finding.status != "ok":
                echo(f"      {'':<{width}}  -> {finding.do}")
    if not answered:
        raise BrokerUnavailable("no broker answers", do="see the line `broker` above")
    failed = sum(finding.status == "FAIL" for finding in findings)
    if failed:
        raise CheckFailed(f"{failed} checks failed", do="see the lines marked FAIL above")
