"""The options that say which quarantine records are meant."""

import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, get_args

import click

from transfer_gate.cli.moments import moment
from transfer_gate.model.reasons import REASONS
from transfer_gate.model.terms import CHANNELS
from transfer_gate.quarantine.search import Filter
from transfer_gate.records.headers import Stage

_F = TypeVar("_F", bound=Callable[..., Any])

_OPTIONS: Final = (
    click.option("--partner", "partner_id", metavar="ID", help="Quarantined for this partner."),
    click.option("--reason", metavar="REASON", help="Quarantined for this reason, on any channel."),
    click.option("--stage", type=click.Choice(get_args(Stage)), help="Where it was held."),
    click.option("--channel", type=click.Choice(CHANNELS), help="Quarantined on this channel."),
    click.option("--prospect", "prospect_id", metavar="ID", help="About this prospect."),
    click.option("--since", metavar="TIME", help="Quarantined at or after this time: RFC 3339, or 2h, 3d ago."),
    click.option("--until", metavar="TIME", help="Quarantined before this time."),
)


def with_filter(command: _F) -> _F:
    """Give a command the options of `filter_of`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def filter_of(given: dict[str, Any], *, ids: Iterable[str] = (), open_only: bool = False) -> Filter:
    """The filter that the options ask for. Raises InvalidInput for a time, UsageError for a reason that is none."""
    now = dt.datetime.now(dt.UTC)
    reason = given["reason"]
    if reason is not None and reason not in REASONS:
        raise click.UsageError(f"--reason {reason}: no such reason; docs/reference/rules.md lists them")
    return Filter(
        partner_id=given["partner_id"],
        reason=reason,
        stage=given["stage"],
        channel=given["channel"],
        prospect_id=given["prospect_id"],
        since=moment("--since", given["since"], now),
        until=moment("--until", given["until"], now),
        ids=frozenset(ids),
        open_only=open_only,
    )
