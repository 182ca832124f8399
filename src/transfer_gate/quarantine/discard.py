"""Discard quarantined records: the gate writes it into the ledger, and never decides them again."""

import secrets
from collections.abc import Callable
from hashlib import sha256
from uuid import UUID

from msgspec import Struct

from transfer_gate.kafka.session import Session
from transfer_gate.quarantine.search import Filter, View, found_in, look, read_ledger
from transfer_gate.records.ledger import DISCARDED, OPEN
from transfer_gate.records.replay_requests import requesting

OnProgress = Callable[[int], None]


class Chosen(Struct, frozen=True, kw_only=True):
    """Open records that are to be discarded: how many, and a digest that names them (over ids, in reading order).

    `missed` are ids that the filter names and that are not open. `left` counts unreadable consent events that match,
    too: only `consent resolve` settles them, since each may have been a withdrawal.
    """

    view: View
    count: int
    digest: str
    missed: frozenset[str]
    left: int


class Outcome(Struct, frozen=True, kw_only=True):
    """The result of a discard: `sent` records; of them `discarded` by the ledger; `pending` where the gate has not
    committed in time; the rest was settled by another operator or a replay meanwhile.
    """

    run: str
    sent: int
    discarded: int
    pending: int


async def choose(
    session: Session,
    wanted: Filter,
    on_progress: OnProgress = lambda _: None,
    *,
    partition: int | None = None,
    consents: bool,
) -> Chosen:
    """Select the open records that match a filter now. `consents`: unreadable consent events too."""
    view = await look(session, wanted, partition=partition)
    count = left = 0
    digest, missed = sha256(), set(wanted.ids)
    async for found in found_in(session, wanted, view, on_progress):
        if found.state != OPEN:
            continue
        if found.held.stage == "consent" and not consents:
            left += 1
            missed.discard(found.held.quarantine_id)
        else:
            count += 1
            digest.update(found.held.quarantine_id.encode())
            missed.discard(found.held.quarantine_id)
    return Chosen(view=view, count=count, digest=f"sha256:{digest.hexdigest()}", missed=frozenset(missed), left=left)


async def discard(
    session: Session,
    wanted: Filter,
    chosen: Chosen,
    why: str,
    timeout: float,
    on_progress: OnProgress = lambda _: None,
    *,
    consents: bool = False,
) -> Outcome:
    """Send the gate a request to discard what was chosen, and wait up to `timeout` seconds until the ledger has it.

    Raises BrokerUnavailable; what was sent by then will still be discarded, and a second request changes nothing.
    """
    run = f"discard-{secrets.token_hex(6)}"
    sent: dict[int, list[UUID]] = {}
    async with session.producer.sender(session.settings.topics.replay) as sender:
        async for found in found_in(session, wanted, chosen.view, on_progress):
            if found.state == OPEN and (consents or found.held.stage != "consent"):
                partition = chosen.view.to.of(found.record)
                await sender.send(
                    partition, found.record.key, None, requesting("discard", run, why, found.record.headers)
                )
                sent.setdefault(partition, []).append(UUID(found.held.quarantine_id))
        await sender.flush()
    in_time = await session.cluster.await_commits(
        session.settings.app_id, session.settings.topics.replay, sender.reached, timeout
    )
    count = sum(map(len, sent.values()))
    if not in_time:
        return Outcome(run=run, sent=count, discarded=0, pending=count)
    ends = (await look(session, wanted)).ledger_ends
    discarded = 0
    for partition, ids in sent.items():
        index = await read_ledger(session, partition, ends[partition])
        entries = (index.get(str(quarantine_id)) for quarantine_id in ids)
        discarded += sum(entry is not None and entry.state == DISCARDED for entry in entries)
    return Outcome(run=run, sent=count, discarded=discarded, pending=0)
