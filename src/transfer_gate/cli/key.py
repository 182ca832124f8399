"""`transfer-gate key`: the master keys that wrap the keys of quarantined payloads."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from transfer_gate.cli.options import FILE, wait_option, with_output, with_progress, with_ticket, with_why
from transfer_gate.cli.render import echo, passing, show
from transfer_gate.errors import InvalidInput, NothingMatched, PartiallyFailed, RefusedByGuard
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.kafka.session import Session, in_session
from transfer_gate.operators import audit_event, audited
from transfer_gate.quarantine import master_keys as keys
from transfer_gate.quarantine.master_keys import RunningWorker, require_key, running_workers
from transfer_gate.quarantine.payloads import master_keys
from transfer_gate.records.sealing import MasterKeys
from transfer_gate.settings import PREFIX, Settings, load_settings


@click.group()
def key() -> None:
    """Make, promote and rotate the master keys of quarantine."""
    silence_clients()


@key.command()
@click.option("--file", required=True, type=FILE, help="The key file.")
@click.option("--add", is_flag=True, help="Put the new key below the current key of the file, for `key promote`.")
def new(file: Path, add: bool) -> None:
    """Make a master key, in a file that only its owner can read (mode 600). The key itself is never printed.

    The file opens what is in quarantine; when it is lost, that can't be read any more.
    """
    made = f"made {dt.datetime.now(dt.UTC):%Y-%m-%d} by `transfer-gate key new`"
    name = keys.add_key(file, made) if add else keys.new_key(file, made)
    echo(name)
    if add:
        state = "the key above unwraps, and wraps nothing yet"
        then = f"give the file to every worker, restart them, then run: transfer-gate key promote {name}"
    else:
        state = "the current key has the id above"
        then = f"set {PREFIX}QUARANTINE_KEY_FILE to it for workers and operators, and keep a copy off the brokers"
    echo(f"{file}: {state}; {then}", err=True)


@key.command()
@click.argument("name", metavar="ID")
@with_why
@with_ticket
def promote(name: str, why: str | None, ticket: str | None) -> None:
    """Make the key ID the current key of the key file, once every running worker has it. Changes the file alone.

    Exit 3 when it is current already, 5 when a running worker lacks it or publishes no keys (an older version), or no
    worker runs.
    """
    settings = load_settings()
    masters, file = _masters(settings)
    if name not in masters.ids:
        raise InvalidInput(f"no key {name} in {file}", do="add a key with: transfer-gate key new --add")
    if name == masters.current:
        raise NothingMatched(f"{name} is the current key already", do="next: transfer-gate key rotate")

    async def run(session: Session) -> None:
        details = {"master_id": name, "before": masters.current}
        event = audit_event(settings, "key promote", why=why, ticket=ticket, details=details)
        async with audited(session, event) as ending:
            workers = await running_workers(session)
            ending.details = {"workers": len(workers)}
            if not workers:
                raise RefusedByGuard(
                    f"no worker of {settings.app_id} runs, so it is not known whether the workers have the key {name}",
                    do="start the workers with this key file, then run the command again",
                )
            require_key(workers, name)
            keys.promote_key(file, name)

    in_session(settings, run)
    echo(f"{name} is the current key of {file}")
    echo("next: give the file to every worker, restart them, then run: transfer-gate key rotate", err=True)


@key.command()
@with_output
@with_progress
def status(output: str, progress: bool | None) -> None:
    """Count the keys of prospects and days by the master key that wraps them, and list the master keys of each
    running worker. Exit 3 when nothing was encrypted yet.
    """
    settings = load_settings()
    masters = master_keys(settings)

    async def run(session: Session) -> tuple[Counter[str], list[RunningWorker]]:
        with passing("changelog", progress) as seen:
            return await keys.keys_by_master(session, seen), await running_workers(session)

    counts, workers = in_session(settings, run)
    rows = [{"master_id": name, "keys": count, "in_file": _role(name, masters)} for name, count in counts.most_common()]
    show(output, {"master_keys": rows, "workers": workers}, _status_lines(counts, workers, masters))
    if not counts:
        raise NothingMatched("no payload was encrypted yet", do=f"set {PREFIX}QUARANTINE_KEY_FILE for the workers")


def _status_lines(counts: Counter[str], workers: Sequence[RunningWorker], masters: MasterKeys | None) -> Iterator[str]:
    if counts:
        yield f"{'master key':<18} {'wraps':>10}  in the key file"
        for name, count in counts.most_common():
            yield f"{name:<18} {count:>10,}  {_role(name, masters)}"
    for worker in workers:
        yield f"worker {worker.name}: {_keys_of(worker)}"


def _keys_of(worker: RunningWorker) -> str:
    if worker.master_keys is None:
        return "not known (an older version)"
    current, *others = worker.master_keys or ("none",)
    return ", ".join([current, *others])


@key.command()
@with_ticket
@wait_option(120.0, "How long the gate may take for one partition.")
@with_progress
def rotate(ticket: str | None, wait_seconds: float, progress: bool | None) -> None:
    """Have running workers wrap every key by the current master key, the first of the key file.

    Nothing in quarantine changes. May be stopped and run again. When no key is left under another master key, the old
    lines may go from the file. Exit 4 when some are left.
    """
    settings = load_settings()
    masters, _ = _masters(settings)

    async def run(session: Session) -> None:
        event = audit_event(settings, "key rotate", ticket=ticket, details={"master_id": masters.current})
        async with audited(session, event) as ending:
            require_key(await running_workers(session), masters.current)
            with passing("changelog", progress) as seen:
                outcome = await keys.rotate(session, masters, wait_seconds, seen)
            ending.details = {"rewrapped": outcome.rewrapped, "left": outcome.left, "foreign": dict(outcome.foreign)}
            echo(f"rewrapped {outcome.rewrapped:,} keys under {masters.current}")
            _raise_for(outcome.foreign, outcome.left)

    in_session(settings, run)
    if len(masters.ids) > 1:
        echo("no key is left under another master key: the old lines may be removed from the key file", err=True)


def _raise_for(foreign: Mapping[str, int], left: int) -> None:
    if foreign:
        listed = ", ".join(f"{count:,} under {name}" for name, count in foreign.items())
        raise PartiallyFailed(
            f"keys wrapped by a master key that is not in the file: {listed}",
            do="put that key back into the file, below the current key; without it these payloads can't be read",
        )
    if left:
        raise PartiallyFailed(
            f"{left:,} keys are still under another master key",
            do="workers must run, with this key file: restart them, then run the command again",
        )


def _masters(settings: Settings) -> tuple[MasterKeys, Path]:
    """The master keys and their file. Raises InvalidInput when none is set, or it is not usable."""
    masters, file = master_keys(settings), settings.quarantine_key_file
    if masters is None or file is None:
        raise InvalidInput(f"{PREFIX}QUARANTINE_KEY_FILE is not set", do="set it to the file that the workers use")
    return masters, file


def _role(name: str, masters: MasterKeys | None) -> str:
    if masters is None or name not in masters.ids:
        return "no"
    return "current" if name == masters.current else "yes"
