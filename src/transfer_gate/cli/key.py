"""`transfer-gate key`: the master keys that wrap the keys of quarantined payloads."""

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import click

from transfer_gate.cli import acts
from transfer_gate.cli.printing import echo, echo_json
from transfer_gate.cli.progress import passing, with_progress
from transfer_gate.errors import InvalidInput, NothingMatched, PartiallyFailed
from transfer_gate.quarantine import keyfile, rotation
from transfer_gate.quarantine.payloads import master_keys
from transfer_gate.settings import PREFIX, load_settings
from transfer_gate.stream.clients import silence_clients
from transfer_gate.wire.sealing import MasterKeys


@click.group()
def key() -> None:
    """Make and rotate the master keys of quarantine."""
    silence_clients()


@key.command()
@click.option("--file", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The key file.")
@click.option("--add", is_flag=True, help="Put the new key on top of those in the file: it wraps from now on.")
def new(file: Path, add: bool) -> None:
    """Make a master key, in a file that only its owner can read (mode 600). The key itself is never printed.

    Whoever has the file can read what is in quarantine; when it is lost, nobody can.
    """
    made = f"made {dt.datetime.now(dt.UTC):%Y-%m-%d} by `transfer-gate key new`"
    name = keyfile.add_key(file, made) if add else keyfile.new_key(file, made)
    echo(name)
    then = (
        "give the file to every worker, restart them, then run: transfer-gate key rotate"
        if add
        else f"set {PREFIX}QUARANTINE_KEY_FILE to it for workers and operators, and keep a copy apart from the brokers"
    )
    echo(f"{file}: the current key has the id above; {then}", err=True)


@key.command()
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@with_progress
def status(output: Literal["table", "json"], progress: bool | None) -> None:
    """Count the keys of prospects and days by the master key that wraps them. Exit 3 when there is none."""
    settings = load_settings()
    masters = master_keys(settings)

    async def run() -> Counter[str]:
        with passing("changelog", progress) as seen:
            return await rotation.keys_by_master(settings, seen)

    counts = asyncio.run(run())
    if output == "json":
        rows = [
            {"master_id": name, "keys": count, "in_file": _role(name, masters)} for name, count in counts.most_common()
        ]
        echo_json({"master_keys": rows})
    elif counts:
        echo(f"{'master key':<18} {'wraps':>10}  in the key file")
        for name, count in counts.most_common():
            echo(f"{name:<18} {count:>10,}  {_role(name, masters)}")
    if not counts:
        raise NothingMatched("no payload was encrypted yet", do=f"set {PREFIX}QUARANTINE_KEY_FILE for the workers")


@key.command()
@acts.with_ticket
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the gate may take for one partition.",
)
@with_progress
def rotate(ticket: str | None, wait_seconds: float, progress: bool | None) -> None:
    """Have running workers wrap every key by the current master key, the first of the key file.

    Nothing in quarantine changes. May be stopped and run again. When none is left under another key, the old lines may
    go from the file. Exit 4 when some are left.
    """
    settings = load_settings()
    masters = master_keys(settings)
    if masters is None:
        raise InvalidInput(f"{PREFIX}QUARANTINE_KEY_FILE is not set", do="set it to the file that the workers use")

    async def run(masters: MasterKeys) -> None:
        details = {"master_id": masters.current}
        async with acts.audited(settings, "key rotate", ticket=ticket, details=details) as ending:
            with passing("changelog", progress) as seen:
                outcome = await rotation.rotate(settings, masters, wait_seconds, seen)
            ending.details = {"rewrapped": outcome.rewrapped, "left": outcome.left, "foreign": dict(outcome.foreign)}
            echo(f"rewrapped {outcome.rewrapped:,} keys under {masters.current}")
            _raise_for(outcome.foreign, outcome.left)

    asyncio.run(run(masters))
    if len(masters.ids) > 1:
        echo("no key is left under another master key: the old lines may be removed from the key file", err=True)


def _raise_for(foreign: Mapping[str, int], left: int) -> None:
    if foreign:
        listed = ", ".join(f"{count:,} under {name}" for name, count in foreign.items())
        raise PartiallyFailed(
            f"keys wrapped by a master key that is not in the file: {listed}",
            do="put that key back into the file, below the current one; without it these payloads can't be read",
        )
    if left:
        raise PartiallyFailed(
            f"{left:,} keys are still under another master key",
            do="workers must run, with this key file: restart them, then run the command again",
        )


def _role(name: str, masters: MasterKeys | None) -> str:
    if masters is None or name not in masters.ids:
        return "no"
    return "current" if name == masters.current else "yes"
