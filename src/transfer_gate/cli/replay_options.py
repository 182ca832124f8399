"""Options of the replay commands: which records are meant, how fast, how far."""

import datetime as dt
from collections.abc import Callable
from typing import Any, Final, TypeVar, get_args

import click

from transfer_gate.errors import InvalidInput
from transfer_gate.model.reasons import REASONS
from transfer_gate.model.terms import CHANNELS
from transfer_gate.quarantine.selection import Filter
from transfer_gate.wire.headers import Stage

F = TypeVar("F", bound=Callable[..., Any])
_PER: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Moment(click.ParamType):
    """A time with its offset, RFC 3339."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        """Read it; a time without an offset could be anybody's."""
        if isinstance(value, dt.datetime):
            return value
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            self.fail("not a time such as 2026-11-24T09:00:00+01:00", param, ctx)
        if moment.tzinfo is None:
            self.fail("a time needs its offset, such as Z or +01:00", param, ctx)
        return moment


class Rate(click.ParamType):
    """Records in a time: `500/s`, `6000/m`, or plain `500` a second."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Records a second."""
        if isinstance(value, float):
            return value
        number, _, unit = str(value).partition("/")
        try:
            rate = float(number) / _PER[unit or "s"]
        except (ValueError, KeyError):
            self.fail("not a rate such as 500/s or 6000/m", param, ctx)
        if not 0 < rate < float("inf"):
            self.fail("must be above 0", param, ctx)
        return rate


_SELECTION: Final = (
    click.option("--partner", "partner_id", help="Of this partner."),
    click.option("--reason", type=click.Choice(REASONS), metavar="REASON", help="With this among the reasons."),
    click.option("--stage", type=click.Choice(get_args(Stage)), help="Held at this stage."),
    click.option("--channel", type=click.Choice(CHANNELS), help="With this channel held."),
    click.option("--prospect", "prospect_id", help="Of this prospect (the record key)."),
    click.option("--since", type=Moment(), metavar="TIME", help="Quarantined at this time or later."),
    click.option("--until", type=Moment(), metavar="TIME", help="Quarantined before this time."),
    click.option("--id", "ids", multiple=True, metavar="ID", help="With this quarantine id; may be repeated."),
)


def selection(command: F) -> F:
    """Add the options that say which quarantined records are meant."""
    for option in reversed(_SELECTION):
        command = option(command)
    return command


def filter_of(given: dict[str, Any]) -> Filter:
    """The filter that the options mean. Raises InvalidInput."""
    wanted = Filter(**given | {"ids": frozenset(given["ids"])})
    if wanted.since is not None and wanted.until is not None and wanted.since >= wanted.until:
        raise InvalidInput("--since is not before --until", do="swap them")
    return wanted
