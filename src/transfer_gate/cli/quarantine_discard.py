"""How `quarantine discard` goes: choose, guard, tell the audit topic, ask the gate, report."""

from transfer_gate.cli import acts
from transfer_gate.cli.progress import passing
from transfer_gate.cli.render import echo
from transfer_gate.errors import NothingMatched, PartiallyFailed, RefusedByGuard
from transfer_gate.kafka.session import Session
from transfer_gate.quarantine.discard import Outcome, choose, discard
from transfer_gate.quarantine.search import Filter, filter_details
from transfer_gate.settings import PREFIX, Settings


async def discard_records(
    session: Session,
    wanted: Filter,
    text: str,
    ticket: str | None,
    wait_seconds: float,
    *,
    partition: int | None,
    dry_run: bool,
    yes: bool,
    progress: bool | None,
) -> None:
    """Discard what is open of `wanted`, for the reason `text`.

    Raises NothingMatched, RefusedByGuard, PartiallyFailed, BrokerUnavailable.
    """
    with passing("quarantine", progress) as seen:
        chosen = await choose(session, wanted, seen, partition=partition, consents=False)
    _say_missed(chosen.missed, chosen.left)
    if not chosen.count:
        raise NothingMatched("nothing open in quarantine matches", do="see: transfer-gate quarantine list")
    if dry_run:
        echo(f"would discard {chosen.count:,} records ({chosen.digest}); nothing was changed")
        return
    _guard_size(session.settings, chosen.count, yes)
    details = filter_details(wanted) | {"records": chosen.count}
    async with acts.audited(
        session, "quarantine discard", why=text, ticket=ticket, digest=chosen.digest, details=details
    ) as ending:
        with passing("discard", progress, chosen.view.offsets) as seen:
            outcome = await discard(session, wanted, chosen, text, wait_seconds, seen)
        ending.details = {
            "run": outcome.run,
            "sent": outcome.sent,
            "discarded": outcome.discarded,
            "pending": outcome.pending,
        }
        _report(outcome)
    if chosen.missed:
        raise PartiallyFailed(f"{len(chosen.missed)} of the ids are not open", do="see the lines above")


def _report(outcome: Outcome) -> None:
    echo(f"discarded {outcome.discarded:,} of {outcome.sent:,} records ({outcome.run})")
    if outcome.pending:
        raise PartiallyFailed(
            f"{outcome.pending:,} records are sent, but no gate has answered yet",
            do="start a worker: it discards them when it comes to them; asking again changes nothing",
        )
    if outcome.discarded < outcome.sent:
        raise PartiallyFailed(
            f"{outcome.sent - outcome.discarded:,} records were replayed or settled by somebody else meanwhile",
            do="see: transfer-gate quarantine list",
        )


def _say_missed(missed: frozenset[str], left: int) -> None:
    for quarantine_id in sorted(missed):
        echo(f"not open, or not in quarantine: {quarantine_id}", err=True)
    if left:
        echo(f"left alone: {left:,} unreadable consent events; see: transfer-gate consent unreadable", err=True)


def _guard_size(settings: Settings, count: int, yes: bool) -> None:
    if count > settings.discard_confirm_records and not yes:
        raise RefusedByGuard(
            f"the size guard refuses: {count:,} records, more than {settings.discard_confirm_records:,}",
            do=f"look at them with --dry-run, then give --yes ({PREFIX}DISCARD_CONFIRM_RECORDS sets the size)",
        )
