"""What operators' commands share: who acts and why, and the record of it."""

import datetime as dt
import uuid
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import click

from transfer_gate.errors import InvalidInput, RefusedByGuard
from transfer_gate.kafka.session import Session
from transfer_gate.operators import Act, Ending, operator, record_acts
from transfer_gate.operators import audited as audited_act
from transfer_gate.settings import Settings

#: Longest reason that is taken, characters: it travels in a header and stays in the ledger.
_LONGEST = 500

with_why = click.option(
    "--why", metavar="TEXT", help="Why, for the audit topic; nobody's name or address belongs into it."
)
with_ticket = click.option("--ticket", metavar="T", help="Ticket that asks for it, for the audit topic.")

with_wait = click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a running gate may take to apply it.",
)


def reason_given(why: str | None, to_do: str) -> str:
    """The reason that an act needs. Raises RefusedByGuard without one, InvalidInput for one that is too long."""
    text = (why or "").strip()
    if not text:
        raise RefusedByGuard(f"{to_do} needs a reason", do="give --why TEXT; it is written to the audit topic")
    if len(text) > _LONGEST:
        raise InvalidInput(f"--why has {len(text)} characters", do=f"say it in {_LONGEST}, and give --ticket for more")
    return text


async def record(session: Session, action: str, outcome: str, *, why: str | None, details: Mapping[str, Any]) -> None:
    """Write one act of the operator to the audit topic, and wait until it is there. Raises BrokerUnavailable."""
    await record_acts(session, _act(session.settings, action, outcome, why=why, details=dict(details)))


def audited(
    session: Session,
    action: str,
    *,
    why: str | None = None,
    ticket: str | None = None,
    digest: str | None = None,
    details: Mapping[str, Any],
) -> AbstractAsyncContextManager[Ending]:
    """What a command does, with its start and its end on the audit topic: see `operators.audited`."""
    act = _act(session.settings, action, "started", why=why, ticket=ticket, digest=digest, details=dict(details))
    return audited_act(session, act)


def _act(settings: Settings, action: str, outcome: str, **more: Any) -> Act:
    return Act(action=action, by=operator(settings), at=dt.datetime.now(dt.UTC), outcome=outcome, **more)


def as_id(text: str) -> str:
    """A quarantine id as it stands in the headers. Raises UsageError."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise click.UsageError(f"{text}: not a quarantine id; `transfer-gate quarantine list` shows them") from None
