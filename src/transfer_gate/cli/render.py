"""What commands print: a table, JSON, or JSON lines. Text of others is escaped here, and nowhere else."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from transfer_gate import printable

Output = Literal["table", "json", "jsonl"]

_ENCODER: Final = msgspec.json.Encoder()


def show(output: str, value: Any, page: Iterable[str | Table]) -> None:
    """Print a result as `output` names it: `value` as one JSON document (json), the rows of its only member on a line
    each (jsonl), else the lines and tables of `page`.
    """
    if output == "json":
        echo_json(value)
    elif output == "jsonl":
        (rows,) = value.values()
        for row in rows:
            echo_json(row, indent=None)
    else:
        for part in page:
            if isinstance(part, str):
                echo(part)
            else:
                Page().print(part)


def echo(text: object = "", *, err: bool = False, styled: str = "") -> None:
    """Print one line; `styled` is a text of the command's own in front of it, with the colours that it has."""
    click.echo(styled + printable.one_line(str(text)), err=err)


def echo_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a value as one JSON document; `indent=None`: on one line."""
    try:
        text = _ENCODER.encode(value).decode()
    except UnicodeEncodeError:  # a header name that is not UTF-8 has lone surrogates (PEP 383)
        text = json.dumps(msgspec.to_builtins(value))
    if indent is not None:
        # msgspec would write an empty object over two lines.
        text = json.dumps(json.loads(text), ensure_ascii=False, indent=indent)
    click.echo(printable.json_text(text))


def columns(cells: Iterable[object], widths: Sequence[int]) -> str:
    """A line with its cells below those of other lines; for rows that are printed as they are found."""
    return "  ".join(f"{cell!s:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def table(rows: Iterable[Sequence[str]], *titles: str, title: str | None = None) -> Table:
    """A table of plain text. Columns whose title begins with `>` are aligned to the right; without any title there is
    no header.
    """
    made = Rows(
        box=None, pad_edge=False, show_header=any(name.strip(">") for name in titles), title=title, title_justify="left"
    )
    for name in titles:
        made.add_column(name.removeprefix(">"), justify="right" if name[:1] == ">" else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


class Rows(Table):
    """A table whose cells are plain text: neither markup nor escape sequences."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row; see rich.table.Table."""
        super().add_row(*(Text(printable.one_line(c)) if isinstance(c, str) else c for c in cells), **options)


class Page(Console):
    """A console whose lines are plain text: neither markup nor escape sequences."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=True, highlight=False)

    def print(self, *parts: Any, **options: Any) -> None:
        """Print lines and tables; see rich.console.Console."""
        super().print(*(Text(printable.one_line(p)) if isinstance(p, str) else p for p in parts), **options)


@contextmanager
def passing(what: str, wanted: bool | None, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A function that takes how many more offsets were passed; shows them, of `total`, on stderr while the block runs.

    `wanted` None: where stderr is a terminal.
    """
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda _: None
        return
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*bar, console=Console(stderr=True), transient=wanted is None) as progress:
        task = progress.add_task(what, total=total)
        yield lambda offsets: progress.advance(task, offsets)
