"""`transfer-gate consent`: import consent events, watch them, settle what is unreadable."""

import sys
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import click

from transfer_gate.cli.consent_import import import_command
from transfer_gate.cli.options import (
    as_id,
    output_option,
    reason_given,
    with_any_output,
    with_progress,
    with_ticket,
    with_wait,
    with_why,
)
from transfer_gate.cli.render import columns, echo, echo_json, passing, show
from transfer_gate.errors import InvalidInput, NothingMatched, PartiallyFailed, RefusedByGuard
from transfer_gate.kafka import ConsumerRecord
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.kafka.session import Session, in_session
from transfer_gate.model.state import EMPTY
from transfer_gate.operators import AuditEvent, Ending, audit_event, audited, operator, record_audit_events
from transfer_gate.quarantine import search
from transfer_gate.quarantine.consent_states import states_of
from transfer_gate.quarantine.export import prospect, shared_domains, time_of
from transfer_gate.quarantine.payloads import Payload, payloads_of
from transfer_gate.quarantine.search import Filter, Found
from transfer_gate.quarantine.unreadable import (
    came_home,
    discard_copies,
    home_of,
    is_applied,
    looks_like,
    nameable,
    open_copies,
    publish_resolution,
    still_blocking,
    unreadable_at,
)
from transfer_gate.records.cloudevents import plain_value
from transfer_gate.records.masking import MASK, masked
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings, load_settings

_TAIL_COLUMNS: Final = ("event at", "received (UTC)", "type", "state", "dated", "channels")
_TAIL_WIDTHS: Final = (14, 24, 18, 11, 25, 0)


@click.group()
def consent() -> None:
    """Import and watch consent events, settle unreadable ones."""
    silence_clients()


consent.add_command(import_command)


@consent.command()
@click.option("--reveal", is_flag=True, help="Show the prospects and what is left of the events; needs --why, audited.")
@with_why
@with_any_output
@with_progress
def unreadable(reveal: bool, why: str | None, output: str, progress: bool | None) -> None:
    """List consent events that can't be read and are not settled: each blocks its prospect's transfers.

    Exit 3 when there is none.
    """
    settings = load_settings()
    text = reason_given(why, "showing who is blocked") if reveal else None
    wanted = Filter(stage="consent", open_only=True)

    async def run(session: Session) -> list[dict[str, Any]]:
        view = await search.look(session, wanted)
        with passing("quarantine", progress, view.offsets) as seen:
            found = [record async for record in search.found_in(session, wanted, view, seen)]
        payloads = await payloads_of(session, found)
        if text is not None:
            event = audit_event(settings, "consent unreadable", "revealed", why=text, details={"records": len(found)})
            await record_audit_events(session, [event])
        both = zip(found, payloads, strict=True)
        nobody = _nobody(settings)
        return [_row(copy, payload, nobody, reveal=reveal) for copy, payload in both if not came_home(copy, payload)]

    rows = in_session(settings, run)
    if not rows:
        raise NothingMatched("no consent event waits to be settled", do="nothing is to be done")
    show(output, {"unreadable": rows}, _lines(rows, reveal=reveal))


@consent.command()
@click.option("--prospect", "prospect_id", metavar="ID", help="The prospect (record key) of the events.")
@click.option("--offset", "offsets", type=click.IntRange(min=0), multiple=True, metavar="N", help="Offset, repeatable.")
@click.option("--history", is_flag=True, help="Settle a history that exceeded its bounds; with --prospect alone.")
@click.option("--quarantine-id", metavar="ID", help="Their copy in quarantine, instead of prospect and offsets.")
@with_why
@with_ticket
@click.option("--yes", is_flag=True, help="Go on without a prompt: I have read what is resolved.")
@with_wait
def resolve(
    prospect_id: str | None,
    offsets: tuple[int, ...],
    history: bool,
    quarantine_id: str | None,
    why: str | None,
    ticket: str | None,
    yes: bool,
    wait_seconds: float,
) -> None:
    """Settle unreadable consent events: the prospect's transfers are decided again by the events that can be read.

    What the event said is lost with it. If it was a withdrawal, objection or erasure, let its source send it again,
    readable, BEFORE you resolve.

    With --history, transfers of a prospect who has more consent events than the gate keeps (`history-overflow`) are
    decided again. What was kept is not complete: their consents are forgotten, and count once they are sent again.
    Oppositions stay; what did not fit stays as an opposition that covers it.

    Exit 3 when there is no such event, 4 when no gate has applied it in time, 5 without
    consent of the operator (--yes, or at the prompt).
    """
    settings = load_settings()
    text = reason_given(why, "resolving a consent event")
    key = None if prospect_id is None else prospect_id.encode()
    if history:
        if key is None or offsets or quarantine_id:
            raise click.UsageError("name the prospect of the history by --prospect, and nothing else")
        of_history = key
        in_session(settings, lambda session: _resolve_history(session, of_history, text, ticket, wait_seconds, yes=yes))
        return
    if (quarantine_id is None) == (key is None or not offsets):
        raise click.UsageError("name the events by --prospect and --offset, or by --quarantine-id")
    wanted = None if quarantine_id is None else as_id(quarantine_id)

    async def run(session: Session) -> None:
        if wanted is None:
            await _resolve(session, key or b"", offsets, text, ticket, wait_seconds, yes=yes)
            return
        copy = (await search.life_of(session, wanted)).attempts[-1]
        if copy.held.stage != "consent":
            raise NothingMatched(f"{wanted} is not a consent event", do="see: transfer-gate consent unreadable")
        if nameable(copy.record.key, _nobody(settings)):
            offset = copy.held.source.offset
            await _resolve(session, copy.record.key or b"", [offset], text, ticket, wait_seconds, yes=yes)
            return
        async with audited(session, _event(session, text, ticket, {"quarantine_id": wanted})) as ending:
            await _settle(session, [wanted], copy.record.partition, text, wait_seconds, ending)
        echo("it was about no person: its copy in quarantine is discarded, and it blocked no transfer")

    in_session(settings, run)


async def _resolve(
    session: Session, key: bytes, offsets: Sequence[int], why: str, ticket: str | None, timeout: float, *, yes: bool
) -> None:
    settings = session.settings
    events = await unreadable_at(session, key, offsets, _nobody(settings))
    for event in events:
        likely = f"looks like {' or '.join(event.looks_like)}" if event.looks_like else "its type is not known"
        received = time_of(event.received_ms) or "-"
        echo(f"{event.partition}:{event.offset}  received {received}  {likely}; {event.why}", err=True)
    if forbidding := sum(event.may_forbid for event in events):
        echo(
            f"{forbidding} of {len(events)} may have been a withdrawal, objection, erasure or restriction: "
            "let the source send it again, readable, before you resolve it",
            err=True,
        )
    _confirm(yes)
    partition = events[0].partition
    numbers = [event.offset for event in events]
    details = {"topic": settings.topics.consents, "partition": partition, "offsets": numbers}
    async with audited(session, _event(session, why, ticket, details)) as ending:
        reached = await publish_resolution(session, key, partition, numbers, by=operator(settings), why=why)
        home = await home_of(session, key, partition)
        if not await is_applied(session, partition, reached, home, timeout):
            raise PartiallyFailed(
                "the resolution is published, but no gate has applied it yet",
                do="start a worker, then run this command again to clear the copies from quarantine",
            )
        ending.details = {"applied": True}
        await _settle(session, await open_copies(session, events), partition, why, timeout, ending)
    await _print_what_blocks(session, key, home)
    echo(f"resolved {len(events)} unreadable consent events, at {partition}:{', '.join(map(str, numbers))}")


async def _resolve_history(
    session: Session, key: bytes, why: str, ticket: str | None, timeout: float, *, yes: bool
) -> None:
    home = await home_of(session, key, 0)
    state = (await states_of(session, {home: {key}})).get((home, key), EMPTY)
    if not state.overflowed:
        raise NothingMatched(
            "no history of this prospect exceeds its bounds", do="see: transfer-gate quarantine list, and its reasons"
        )
    oppositions = len(state.withdrawals) + len(state.objections)
    echo(f"forgets {len(state.consents)} versions of consents, keeps {oppositions} oppositions", err=True)
    _confirm(yes)
    details = {"topic": session.settings.topics.consents, "partition": home, "history": True}
    async with audited(session, _event(session, why, ticket, details)) as ending:
        reached = await publish_resolution(session, key, home, [], by=operator(session.settings), why=why, history=True)
        if not await is_applied(session, home, reached, home, timeout):
            raise PartiallyFailed("the resolution is published, but no gate has applied it yet", do="start a worker")
        ending.details = {"applied": True}
    await _print_what_blocks(session, key, home)
    echo("resolved the history; have what the person consents to now sent again")


def _event(session: Session, why: str, ticket: str | None, details: dict[str, Any]) -> AuditEvent:
    return audit_event(session.settings, "consent resolve", why=why, ticket=ticket, details=details)


async def _print_what_blocks(session: Session, key: bytes, partition: int) -> None:
    if left := await still_blocking(session, key, partition):
        echo(f"still blocked, by the unreadable events at {', '.join(map(str, left))}", err=True)


async def _settle(
    session: Session, copies: Sequence[str], partition: int, why: str, timeout: float, ending: Ending
) -> None:
    count, discarded = await discard_copies(session, copies, partition, why, timeout)
    ending.details |= {"copies": count}
    if discarded < count:
        ending.details |= {"discarded": discarded}
        raise PartiallyFailed(
            "resolved, but the copies in quarantine are not discarded yet", do="run this command again"
        )


def _confirm(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedByGuard("resolving lifts a block on transfers", do="read the lines above, then give --yes")
    if not click.confirm("Resolve?", err=True):
        raise RefusedByGuard("nothing was resolved", do="answer y, or give --yes")


def _nobody(settings: Settings) -> AbstractSet[str]:
    """The `unidentified_ids` of the registry; empty where no registry can be read."""
    try:
        return load_registry(settings.registry).policy.nobody
    except InvalidInput:
        return frozenset()


def _row(copy: Found, payload: Payload, nobody: AbstractSet[str], *, reveal: bool) -> dict[str, Any]:
    value = payload.value if payload.readable else None
    row: dict[str, Any] = {
        "quarantine_id": copy.held.quarantine_id,
        "place": str(search.Place(copy.held.source.partition, copy.held.source.offset)),
        "received_at": time_of(copy.held.source_timestamp_ms),
        "prospect_id": prospect(copy, reveal=reveal),
        "blocks": nameable(copy.record.key, nobody),
        "looks_like": list(looks_like(value or b"")),
        "payload": payload.condition,
    }
    if reveal:
        row["value"] = None if value is None else value.decode(errors="backslashreplace")
    return row


def _lines(rows: list[dict[str, Any]], *, reveal: bool) -> Iterator[str]:
    widths = (36, 12, 24, 20, 0)
    yield columns(("quarantine id", "event at", "received (UTC)", "prospect", "looks like"), widths)
    for row in rows:
        who = (row["prospect_id"] or MASK) if row["blocks"] else "(no person)"
        unknown = "?" if row["payload"] in ("plain", "decrypted") else row["payload"]
        likely = ", ".join(row["looks_like"]) or unknown
        yield columns((row["quarantine_id"], row["place"], row["received_at"] or "-", who, likely), widths)
        if reveal and row["value"] is not None:
            yield f"  {row['value']}"


@consent.command()
@click.option("--from-beginning", is_flag=True, help="All that the topic holds, too, not only what comes from now on.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="End after so many; default: go on until Ctrl-C."
)
@output_option("table", "jsonl")
def tail(from_beginning: bool, limit: int | None, output: str) -> None:
    """Show consent events as they come, masked.

    Aborted transactions never show; events behind an open transaction come when it ends. Ctrl-C ends it, exit 130.
    """
    settings = load_settings()
    topic, domains = settings.topics.consents, shared_domains(settings)

    async def run(session: Session) -> None:
        shown = 0
        partitions = await session.cluster.partitions(topic)
        if output == "table":
            echo(columns(_TAIL_COLUMNS, _TAIL_WIDTHS))
        async with session.reader.follow(partitions, from_end=not from_beginning) as follower:
            while shown != limit:
                for record in (await follower.more())[: None if limit is None else limit - shown]:
                    row = _event_row(record, domains)
                    if output == "jsonl":
                        echo_json(row, indent=None)
                    else:
                        echo(columns(_event_cells(row), _TAIL_WIDTHS))
                    shown += 1

    in_session(settings, run)


def _event_row(record: ConsumerRecord[bytes | None, bytes | None], domains: frozenset[str]) -> dict[str, Any]:
    event = None
    if record.value is not None:
        event = masked(plain_value(record.value, record.headers) or record.value, domains)
    place = str(search.Place(record.partition, record.offset))
    return {"place": place, "received_at": time_of(record.timestamp), "event": event}


def _event_cells(row: dict[str, Any]) -> tuple[str, ...]:
    event = row["event"]
    about = event if isinstance(event, dict) else {}
    scope = about.get("scope")
    channels = about.get("channels") or (scope.get("channels") if isinstance(scope, dict) else None)
    listed = ", ".join(map(str, channels)) if isinstance(channels, list) else channels
    kind = about.get("type") or MASK
    return tuple(
        str(cell or "-")
        for cell in (row["place"], row["received_at"], kind, about.get("state"), about.get("event_time"), listed)
    )
