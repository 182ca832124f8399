"""`transfer-gate consent`: consent events: watch them, import them, settle those that can't be read."""

import sys
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal

import click

from transfer_gate.cli import acts
from transfer_gate.cli.consent_import import import_command
from transfer_gate.cli.consent_tail import tail
from transfer_gate.cli.progress import passing, with_progress
from transfer_gate.cli.render import echo, echo_json
from transfer_gate.cli.sessions import in_session
from transfer_gate.errors import InvalidInput, NothingMatched, PartiallyFailed, RefusedByGuard
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.kafka.session import Session
from transfer_gate.model.state import EMPTY
from transfer_gate.operators import Ending, operator
from transfer_gate.quarantine import search
from transfer_gate.quarantine.consent_states import states_of
from transfer_gate.quarantine.discard import choose, discard
from transfer_gate.quarantine.export import prospect, time_of
from transfer_gate.quarantine.payloads import Payload, payloads_of
from transfer_gate.quarantine.search import Filter, Found
from transfer_gate.quarantine.unreadable import (
    UnreadableEvent,
    end_of_strays,
    home_of,
    looks_like,
    nameable,
    publish_resolution,
    unreadable_at,
)
from transfer_gate.records.consents import is_readable
from transfer_gate.records.masking import MASK
from transfer_gate.records.partitioner import place_known_as
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings, load_settings


@click.group()
def consent() -> None:
    """Import consent events, watch them, settle those that can't be read."""
    silence_clients()


consent.add_command(import_command)
consent.add_command(tail)


@consent.command()
@click.option("--reveal", is_flag=True, help="Show the prospects and what is left of the events; needs --why, audited.")
@acts.with_why
@click.option("--output", type=click.Choice(["table", "json", "jsonl"]), default="table", show_default=True)
@with_progress
def unreadable(reveal: bool, why: str | None, output: Literal["table", "json", "jsonl"], progress: bool | None) -> None:
    """List consent events that can't be read and are not settled: each blocks its prospect's transfers.

    Exit 3 when there is none.
    """
    settings = load_settings()
    text = acts.reason_given(why, "showing who is blocked") if reveal else None
    wanted = Filter(stage="consent", open_only=True)

    async def run(session: Session) -> list[dict[str, Any]]:
        view = await search.look(session, wanted)
        with passing("quarantine", progress, view.offsets) as seen:
            found = [one async for one in search.found_in(session, wanted, view, seen)]
        payloads = await payloads_of(session, found)
        if text is not None:
            await acts.record(session, "consent unreadable", "revealed", why=text, details={"records": len(found)})
        both = zip(found, payloads, strict=True)
        nobody = _nobody(settings)
        return [_row(one, payload, nobody, reveal=reveal) for one, payload in both if not _came_home(one, payload)]

    rows = in_session(settings, run)
    if not rows:
        raise NothingMatched("no consent event waits to be settled", do="nothing is to be done")
    _print(rows, output, reveal=reveal)


@consent.command()
@click.option("--prospect", "prospect_id", metavar="ID", help="The prospect (record key) of the events.")
@click.option("--offset", "offsets", type=click.IntRange(min=0), multiple=True, metavar="N", help="Offset, repeatable.")
@click.option("--history", is_flag=True, help="Settle a history that exceeded its bounds; with --prospect alone.")
@click.option("--quarantine-id", metavar="ID", help="Their copy in quarantine, instead of prospect and offsets.")
@acts.with_why
@acts.with_ticket
@click.option("--yes", is_flag=True, help="Don't ask: I have read what is resolved.")
@acts.with_wait
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

    Whatever the event said is lost with it. If it was a withdrawal, objection or erasure, let its source send it again,
    readable, BEFORE you resolve.

    With --history, transfers of a prospect who has more consent events than the gate keeps (`history-overflow`) are
    decided again. What was kept is not all there was: their consents are forgotten, and count once they are sent again.
    Oppositions stay, those that did not fit as one that covers them.

    Exit 3 when there is no such event, 4 when no gate has applied it in time, 5 without
    consent of the operator (--yes, or at the prompt).
    """
    settings = load_settings()
    text = acts.reason_given(why, "resolving a consent event")
    if history:
        if prospect_id is None or offsets or quarantine_id:
            raise click.UsageError("name the prospect of the history by --prospect, and nothing else")
        key = prospect_id.encode()
        in_session(settings, lambda session: _resolve_history(session, key, text, ticket, wait_seconds, yes=yes))
        return
    if (quarantine_id is None) == (prospect_id is None or not offsets):
        raise click.UsageError("name the events by --prospect and --offset, or by --quarantine-id")
    in_session(
        settings,
        lambda session: _resolve(session, prospect_id, offsets, quarantine_id, text, ticket, wait_seconds, yes=yes),
    )


async def _resolve(
    session: Session,
    prospect_id: str | None,
    offsets: Sequence[int],
    quarantine_id: str | None,
    why: str,
    ticket: str | None,
    timeout: float,
    *,
    yes: bool,
) -> None:
    key = None if prospect_id is None else prospect_id.encode()
    if quarantine_id is not None:
        copy = (await search.life_of(session, acts.as_id(quarantine_id))).attempts[-1]
        if copy.held.stage != "consent":
            raise NothingMatched(
                f"{copy.held.quarantine_id} is no consent event", do="see: transfer-gate consent unreadable"
            )
        key, offsets = copy.record.key, [copy.held.source.offset]
        if not nameable(key, _nobody(session.settings)):
            about = {"quarantine_id": copy.held.quarantine_id}
            async with acts.audited(session, "consent resolve", why=why, ticket=ticket, details=about) as ending:
                await _settle_copies(session, [copy.held.quarantine_id], copy.record.partition, why, timeout, ending)
            echo("it was about nobody: its copy in quarantine is discarded, and nobody was blocked by it")
            return
    events = await unreadable_at(session, key or b"", offsets, _nobody(session.settings))
    for line in _about(events):
        echo(line, err=True)
    _ask(events, yes)
    partition = events[0].partition
    numbers = [event.offset for event in events]
    details = {"topic": session.settings.topics.consents, "partition": partition, "offsets": numbers}
    async with acts.audited(session, "consent resolve", why=why, ticket=ticket, details=details) as ending:
        reached = await publish_resolution(
            session, key or b"", partition, numbers, by=operator(session.settings), why=why
        )
        home = await home_of(session, key or b"", partition)
        if not await _applied(session, partition, reached, home, timeout):
            raise PartiallyFailed(
                "the resolution is published, but no gate has applied it yet",
                do="start a worker, then run this command again to clear the copies from quarantine",
            )
        ending.details = {"applied": True}
        await _settle_copies(session, await _copies_of(session, events), partition, why, timeout, ending)
    await _say_what_blocks(session, key or b"", home)
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
    async with acts.audited(session, "consent resolve", why=why, ticket=ticket, details=details) as ending:
        reached = await publish_resolution(session, key, home, [], by=operator(session.settings), why=why, history=True)
        if not await _committed(session, session.settings.topics.consents, {home: reached}, timeout):
            raise PartiallyFailed("the resolution is published, but no gate has applied it yet", do="start a worker")
        ending.details = {"applied": True}
    await _say_what_blocks(session, key, home)
    echo("resolved the history; have what the person consents to now sent again")


async def _applied(session: Session, partition: int, reached: int, home: int, timeout: float) -> bool:
    """Whether the resolution counts where its prospect is decided: what stands elsewhere has to come home first."""
    if not await _committed(session, session.settings.topics.consents, {partition: reached}, timeout):
        return False
    if partition == home:
        return True
    return await _committed(
        session, session.settings.topics.strays, {home: await end_of_strays(session, home)}, timeout
    )


async def _committed(session: Session, topic: str, reached: dict[int, int], timeout: float) -> bool:
    return await session.cluster.await_commits(session.settings.app_id, topic, reached, timeout)


async def _copies_of(session: Session, events: Sequence[UnreadableEvent]) -> list[str]:
    """Ids of the open copies of these events of one partition. Place and time tell them from copies of events that
    stood there before the topic was made anew.
    """
    partition = events[0].partition
    wanted, stood = Filter(stage="consent", open_only=True), {(event.offset, event.received_ms) for event in events}
    view = await search.look(session, wanted, partition=partition)
    return [
        one.held.quarantine_id
        async for one in search.found_in(session, wanted, view)
        if (one.held.source.offset, one.held.source_timestamp_ms) in stood
    ]


async def _say_what_blocks(session: Session, key: bytes, partition: int) -> None:
    state = (await states_of(session, {partition: {key}})).get((partition, key), EMPTY)
    left = sorted(set(state.unreadable) - set(state.resolved))
    if left:
        places = ", ".join(str(search.Place(*place_known_as(name, partition))) for name in left)
        echo(f"still blocked, by the unreadable events at {places}", err=True)


async def _settle_copies(
    session: Session, copies: Sequence[str], partition: int, why: str, timeout: float, ending: Ending
) -> None:
    """Discard the copies in quarantine, so that nobody looks at them again; those that are gone by age are settled."""
    wanted = Filter(ids=frozenset(copies))
    chosen = await choose(session, wanted, partition=partition, consents=True) if copies else None
    ending.details |= {"copies": chosen.count if chosen else 0}
    if chosen and chosen.count:
        outcome = await discard(session, wanted, chosen, why, timeout, consents=True)
        if outcome.discarded < chosen.count:
            ending.details |= {"discarded": outcome.discarded}
            raise PartiallyFailed(
                "resolved, but the copies in quarantine are not discarded yet", do="run this command again"
            )


def _about(events: Sequence[UnreadableEvent]) -> Iterator[str]:
    for event in events:
        likely = f"looks like {' or '.join(event.looks_like)}" if event.looks_like else "nothing tells what it was"
        yield f"{event.partition}:{event.offset}  received {time_of(event.received_ms) or '-'}  {likely}; {event.why}"


def _ask(events: Sequence[UnreadableEvent], yes: bool) -> None:
    forbidding = sum(event.may_forbid for event in events)
    if forbidding:
        echo(
            f"{forbidding} of {len(events)} may have been a withdrawal, objection, erasure or restriction: "
            "let the source send it again, readable, before you resolve it",
            err=True,
        )
    _confirm(yes)


def _confirm(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedByGuard("resolving lifts a block on transfers", do="read the lines above, then give --yes")
    if not click.confirm("Resolve?", err=True):
        raise RefusedByGuard("nothing was resolved", do="answer y, or give --yes")


def _came_home(one: Found, payload: Payload) -> bool:
    """Whether it is the copy of an event that only stood in another partition: it counts at home, and blocks nobody."""
    readable = payload.readable and is_readable(payload.value, one.record.key, headers=one.held.inbound)
    return one.held.reason == "key-misplaced" and readable


def _nobody(settings: Settings) -> AbstractSet[str]:
    """The `unidentified_ids` of the registry; none where there is no registry that can be read."""
    try:
        return load_registry(settings.registry).policy.nobody
    except InvalidInput:
        return frozenset()


def _row(one: Found, payload: Payload, nobody: AbstractSet[str], *, reveal: bool) -> dict[str, Any]:
    value = payload.value if payload.readable else None
    row: dict[str, Any] = {
        "quarantine_id": one.held.quarantine_id,
        "place": str(search.Place(one.held.source.partition, one.held.source.offset)),
        "received_at": time_of(one.held.source_timestamp_ms),
        "prospect_id": prospect(one, reveal=reveal),
        "blocks": nameable(one.record.key, nobody),
        "looks_like": list(looks_like(value or b"")),
        "payload": payload.condition,
    }
    if reveal:
        row["value"] = None if value is None else value.decode(errors="backslashreplace")
    return row


def _print(rows: list[dict[str, Any]], output: str, *, reveal: bool) -> None:
    if output == "jsonl":
        for row in rows:
            echo_json(row, indent=None)
        return
    if output == "json":
        echo_json({"unreadable": rows})
        return
    echo(f"{'quarantine id':<36}  {'event at':<12}  {'received (UTC)':<24}  {'prospect':<20}  looks like")
    for row in rows:
        who = (row["prospect_id"] or MASK) if row["blocks"] else "(nobody)"
        unknown = "?" if row["payload"] in ("plain", "decrypted") else row["payload"]
        likely = ", ".join(row["looks_like"]) or unknown
        about = f"{row['quarantine_id']:<36}  {row['place']:<12}  {row['received_at'] or '-':<24}"
        echo(f"{about}  {who:<20}  {likely}")
        if reveal and row["value"] is not None:
            echo(f"  {row['value']}")
