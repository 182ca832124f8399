"""Options and arguments that several commands take, and what they stand for."""

import datetime as dt
import math
import re
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

import click
from pydantic import TypeAdapter, ValidationError

from transfer_gate.errors import InvalidInput, RefusedByGuard
from transfer_gate.model.reviewed import When
from transfer_gate.model.terms import CHANNELS, REASONS
from transfer_gate.records.headers import Stage

if TYPE_CHECKING:
    from transfer_gate.quarantine.search import Filter

_F = TypeVar("_F", bound=Callable[..., Any])

#: Longest reason that is taken, characters: it travels in a header and stays in the ledger.
_LONGEST_REASON: Final = 500
_AGO: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PER: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}

PATH: Final = click.Path(path_type=Path)
FILE: Final = click.Path(path_type=Path, dir_okay=False)


def together(*options: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """Several options and arguments as one decorator, in the order of the help."""

    def add(command: _F) -> _F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def output_option(*formats: str) -> Callable[[_F], _F]:
    """`--output`: the first of `formats` unless another is named."""
    return click.option("--output", type=click.Choice(formats), default=formats[0], show_default=True)


def wait_option(default: float, text: str) -> Callable[[_F], _F]:
    """`--wait`, in seconds."""
    seconds = click.FloatRange(min=0)
    return click.option(
        "--wait", "wait_seconds", type=seconds, default=default, show_default=True, metavar="SECONDS", help=text
    )


with_output: Final = output_option("table", "json")
with_any_output: Final = output_option("table", "json", "jsonl")
with_wait: Final = wait_option(60.0, "How long a running gate may take to apply it.")
with_why: Final = click.option(
    "--why", metavar="TEXT", help="Why, for the audit topic; no name or address of a person belongs into it."
)
with_ticket: Final = click.option("--ticket", metavar="T", help="Ticket that asks for it, for the audit topic.")
with_progress: Final = click.option(
    "--progress/--no-progress",
    "progress",
    default=None,
    help="Show how far it is, on stderr; default: where stderr is a terminal.",
)
#: The options of `filter_of`.
with_filter: Final = together(
    click.option("--partner", "partner_id", metavar="ID", help="Quarantined for this partner."),
    click.option("--reason", metavar="REASON", help="Quarantined for this reason, on any channel."),
    click.option("--stage", type=click.Choice(get_args(Stage)), help="Where it was quarantined."),
    click.option("--channel", type=click.Choice(CHANNELS), help="Quarantined on this channel."),
    click.option("--prospect", "prospect_id", metavar="ID", help="About this prospect."),
    click.option("--since", metavar="TIME", help="Quarantined at or after this time: RFC 3339, or 2h, 3d ago."),
    click.option("--until", metavar="TIME", help="Quarantined before this time."),
)


def filter_of(given: dict[str, Any], *, ids: Iterable[str] = (), open_only: bool = False) -> "Filter":
    """The filter of the options. Raises InvalidInput for what is not a time, UsageError for what is not a reason."""
    from transfer_gate.quarantine.search import Filter  # commands without a filter do without aiokafka

    now = dt.datetime.now(dt.UTC)
    reason = given["reason"]
    if reason is not None and reason not in REASONS:
        raise click.UsageError(f"--reason {reason}: not a reason; docs/reference/rules.md lists them")
    times = {name: moment(f"--{name}", given[name], now) for name in ("since", "until")}
    return Filter(**given | times, ids=frozenset(ids), open_only=open_only)


def as_id(text: str) -> str:
    """A quarantine id as it stands in the headers. Raises UsageError."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise click.UsageError(f"{text}: not a quarantine id; `transfer-gate quarantine list` shows them") from None


def reason_given(why: str | None, action: str) -> str:
    """The reason for an action that needs one. Raises RefusedByGuard without it, InvalidInput when it is too long."""
    text = (why or "").strip()
    if not text:
        raise RefusedByGuard(f"{action} needs a reason", do="give --why TEXT; it is written to the audit topic")
    if len(text) > _LONGEST_REASON:
        raise InvalidInput(
            f"--why has {len(text)} characters", do=f"shorten it to {_LONGEST_REASON}, and give --ticket for more"
        )
    return text


def moment(option: str, text: str | None, now: dt.datetime | None = None) -> dt.datetime | None:
    """An aware time: `2026-09-01T10:00:00+02:00`; with `now` also `2h`, two hours before it. Raises InvalidInput."""
    if text is None:
        return None
    try:
        if now is not None and (ago := _AGO.fullmatch(text)):
            return now - dt.timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return TypeAdapter(When).validate_python(text)
    except (OverflowError, ValidationError):
        ago_too = "" if now is None else ", or as 30m, 2h, 3d, 1w ago"
        raise InvalidInput(
            f"{option} {text}: not a time", do=f"write it as 2026-09-01T10:00:00+02:00{ago_too}"
        ) from None


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
        if not (rate > 0 and math.isfinite(rate)):
            self.fail("must be above 0", param, ctx)
        return rate
