"""Everything that commands print goes through here: text of others is escaped once, at one place."""

import json
from typing import Any, Final

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from transfer_gate import printable

_ENCODER: Final = msgspec.json.Encoder()


def echo(text: object = "", *, err: bool = False, styled: str = "") -> None:
    """Print one line; `styled` is a text of our own in front of it, with the colours that it has."""
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
