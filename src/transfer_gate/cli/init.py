"""`transfer-gate init`: a folder with a registry, cases, settings and checks to start from."""

from pathlib import Path

import click

from transfer_gate.cli.render import echo
from transfer_gate.starter import lay_out


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def init(folder: Path) -> None:
    """Lay out a new installation in DIR: a registry with an invented partner, cases, settings, compose, CI checks.

    Prints the files that it writes. Exit 5 when one of them exists: nothing is overwritten.
    """
    for path in lay_out(folder):
        echo(path)
    echo(f"next: cd {folder}, read README.md, run: sh check.sh", err=True)
