"""How far a long look has come: a bar on stderr, where somebody watches."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

with_progress = click.option(
    "--progress/--no-progress",
    "progress",
    default=None,
    help="Show how far it is, on stderr; default: where stderr is a terminal.",
)


@contextmanager
def passing(what: str, wanted: bool | None) -> Iterator[Callable[[int], None]]:
    """A function that is told how many more offsets were passed; shows them while the block runs."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=wanted is None) as progress:
        task = progress.add_task(what, total=None)
        yield lambda offsets: progress.advance(task, offsets)
