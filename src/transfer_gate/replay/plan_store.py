"""Plans on the audit topic: published whole, so that another machine can run them; who approves and cancels them."""

import datetime as dt
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from transfer_gate.errors import InvalidInput, NothingMatched, RefusedByGuard
from transfer_gate.kafka import ConsumerRecord
from transfer_gate.kafka.reader import Follower
from transfer_gate.kafka.session import Session
from transfer_gate.operators import AuditEvent, operator, record_audit_events
from transfer_gate.replay.plan import (
    Item,
    Items,
    Move,
    Plan,
    Result,
    checked_id,
    digest_of,
    load_plan,
    plan_file,
    save_plan,
)
from transfer_gate.settings import PREFIX, Settings

PLANNED: Final = "replay plan"
PART: Final = "replay plan part"
APPROVED: Final = "replay approve"
RUN: Final = "replay run"
CANCELLED: Final = "replay cancel"

#: The columns of a plan that may be long, and how much of each one part holds: it stays well below Kafka's largest
#: message, 1 MiB.
_COLUMNS: Final[dict[str, tuple[Any, int]]] = {
    "items": (tuple[Item, ...], 4000),
    "forecasts": (tuple[Result, ...], 300),
    "moves": (tuple[Move, ...], 2000),
}
_NO_COLUMNS: Final[dict[str, Any]] = dict.fromkeys(_COLUMNS, ())


#: Columns by digest and number of the part that they stand in.
_Parts = dict[tuple[str | None, int], dict[str, Any]]


class KnownPlan:
    """A plan, its digest, and the audit events about it in their order."""

    def __init__(self, plan: Plan, digest: str, events: list[AuditEvent]) -> None:
        self.plan = plan
        self.digest = digest
        self.events = events

    @property
    def approvals(self) -> list[AuditEvent]:
        """Approvals of exactly this plan by another operator than the one who made it."""
        return [
            event
            for event in self.events
            if event.action == APPROVED
            and event.outcome == "approved"
            and event.digest == self.digest
            and event.by != self.plan.by
        ]

    @property
    def cancelled(self) -> AuditEvent | None:
        """The audit event that cancelled it."""
        return next((event for event in self.events if is_cancel(event)), None)


def is_cancel(event: AuditEvent) -> bool:
    """Whether an event cancels its plan."""
    return event.action == CANCELLED and event.outcome == "cancelled"


async def publish(session: Session, plan: Plan) -> str:
    """Write a plan to the audit topic, then its file; returns the digest. Raises BrokerUnavailable, InvalidInput.

    The audit event `replay plan` comes last: parts of a plan count for nothing without it.
    """
    digest = digest_of(plan)

    def event(action: str, outcome: str, **details: object) -> AuditEvent:
        return AuditEvent(
            action=action,
            by=plan.by,
            at=plan.at,
            outcome=outcome,
            plan_id=plan.plan_id,
            digest=digest,
            ticket=plan.ticket,
            details=details,
        )

    places = [
        (name, slice(start, start + size))
        for name, (_, size) in _COLUMNS.items()
        for start in range(0, len(getattr(plan, name)), size)
    ]
    head = msgspec.to_builtins(replace(plan, **_NO_COLUMNS))
    parts = (
        event(PART, "planned", part=number, **{name: getattr(plan, name)[at]})
        for number, (name, at) in enumerate(places)
    )
    planned = event(PLANNED, "planned", records=len(plan.items), parts=len(places), forecast=plan.outcomes(), plan=head)
    await record_audit_events(session, chain(parts, (planned,)))
    save_plan(plan_file(session.settings.data_dir, plan.plan_id), plan, digest)
    return digest


async def find_plan(session: Session, plan_id: str, audit: Follower | None = None) -> KnownPlan:
    """The plan of an id, from its file here or else from the audit topic; `audit` follows the audit topic, unread.

    Raises InvalidInput when nobody made such a plan, RefusedByGuard when it is not the one that was made.
    """
    checked_id(plan_id)
    if audit is not None:
        return await _find(session.settings, plan_id, audit)
    await replay_partitions(session)
    async with session.reader.follow({session.settings.topics.audit: 1}) as follower:
        return await _find(session.settings, plan_id, follower)


async def replay_partitions(session: Session, *more: str) -> int:
    """How many partitions quarantine, replay and ledger share. Raises InvalidInput when one of them, the audit topic or
    one of `more` is missing; BrokerUnavailable.
    """
    topics = session.settings.topics
    found = await session.cluster.partitions(topics.quarantine, topics.replay, topics.ledger, topics.audit, *more)
    return found[topics.quarantine]


async def _find(settings: Settings, plan_id: str, follower: Follower) -> KnownPlan:
    here = load_plan(plan_file(settings.data_dir, plan_id))
    about: list[AuditEvent] = []
    parts: _Parts = {}
    async for records in follower.so_far():
        for record in records:
            event = event_about(record, plan_id)
            if event is None:
                continue
            if event.action != PART:
                about.append(event)
            elif here is None:
                parts[event.digest, int(event.details["part"])] = _part_of(event)
    made = next((event for event in about if event.action == PLANNED), None)
    if made is None or made.digest is None:
        raise InvalidInput(
            f"no plan {plan_id} on {settings.topics.audit}", do="make one with: transfer-gate replay plan"
        )
    plan = here if here is not None else _assembled(made, parts)
    if plan is None or plan.plan_id != plan_id or digest_of(plan) != made.digest:
        where = "the plan file" if here is not None else "the plan on the audit topic"
        raise RefusedByGuard(
            f"digest: {where} is not what {made.by} planned (digest {made.digest[:12]}…)",
            do="make a new plan" if here is None else "remove the file: the audit topic has the plan as well",
        )
    return KnownPlan(plan, made.digest, about)


def event_about(record: ConsumerRecord, plan_id: str) -> AuditEvent | None:
    """The audit event in a record of its topic, if it is about a plan. Others are not even decoded."""
    if record.value is None or plan_id.encode() not in record.value:
        return None
    try:
        event = msgspec.json.decode(record.value, type=AuditEvent)
    except msgspec.DecodeError:
        return None
    return event if event.plan_id == plan_id else None


def _part_of(event: AuditEvent) -> dict[str, Any]:
    """Columns of a part; none of one that is damaged, so that the plan will not be the one that was made."""
    try:
        found: dict[str, Any] = {
            name: msgspec.convert(event.details[name], kind)
            for name, (kind, _) in _COLUMNS.items()
            if name in event.details
        }
        return found | {"items": Items(found["items"])} if "items" in found else found
    except ValueError:  # msgspec.ValidationError is one
        return {}


def _assembled(made: AuditEvent, parts: _Parts) -> Plan | None:
    """The plan from its parts; None when one is missing or not as it was written."""
    columns, items = dict(_NO_COLUMNS), list[Items]()
    try:
        for number in range(int(made.details["parts"])):
            for name, part in parts[made.digest, number].items():
                if name == "items":
                    items.append(part)
                else:
                    columns[name] += part
        return replace(
            msgspec.convert(made.details["plan"], Plan), **columns | {"items": Items(chain.from_iterable(items))}
        )
    except (KeyError, ValueError, TypeError):  # msgspec.ValidationError is a ValueError
        return None


def now() -> dt.datetime:
    """The clock of the commands."""
    return dt.datetime.now(dt.UTC)


def event_on(known: KnownPlan, settings: Settings, action: str, outcome: str, **more: Any) -> AuditEvent:
    """An audit event about a plan, by the operator of `settings`."""
    return AuditEvent(
        action=action,
        by=operator(settings),
        at=now(),
        outcome=outcome,
        plan_id=known.plan.plan_id,
        digest=known.digest,
        **more,
    )


def needs_approval(settings: Settings, records: int) -> bool:
    """Whether a plan of so many records needs a second person."""
    return records > settings.replay_approval_records


async def check_may_run(session: Session, known: KnownPlan, action: str) -> None:
    """Raises RefusedByGuard naming the guard: the plan was cancelled, or lacks the approval of a second person."""
    settings, plan, cancelled = session.settings, known.plan, known.cancelled
    if cancelled is not None:
        await _refuse(session, known, action, f"cancelled by {cancelled.by}: {cancelled.why}", "make a new plan")
    if needs_approval(settings, len(plan.items)) and not known.approvals:
        await _refuse(
            session,
            known,
            action,
            f"approval: {len(plan.items):,} records are more than {PREFIX}REPLAY_APPROVAL_RECORDS "
            f"({settings.replay_approval_records:,}), and nobody but {plan.by} has looked at them",
            f"let another operator run: transfer-gate replay approve {plan.plan_id}",
        )


async def approve(session: Session, plan_id: str, *, ticket: str | None = None) -> KnownPlan:
    """Approve exactly this plan. Raises RefusedByGuard for one's own and for a cancelled one, NothingMatched when this
    operator approved it before."""
    known = await find_plan(session, plan_id)
    by = operator(session.settings)
    if known.cancelled is not None:
        await _refuse(session, known, APPROVED, f"cancelled by {known.cancelled.by}", "make a new plan")
    if by == known.plan.by:
        await _refuse(session, known, APPROVED, f"own approval: {by} made this plan", "ask a second person")
    if any(event.by == by for event in known.approvals):
        raise NothingMatched(f"{by} approved this plan before", do=f"run: transfer-gate replay run {plan_id}")
    await record_audit_events(session, [event_on(known, session.settings, APPROVED, "approved", ticket=ticket)])
    return known


async def cancel(session: Session, plan_id: str, why: str) -> KnownPlan:
    """Cancel a plan for good; a run of it stops. Raises NothingMatched when it was cancelled before."""
    known = await find_plan(session, plan_id)
    if known.cancelled is not None:
        raise NothingMatched(f"{known.cancelled.by} cancelled this plan before")
    await record_audit_events(session, [event_on(known, session.settings, CANCELLED, "cancelled", why=why)])
    return known


async def _refuse(session: Session, known: KnownPlan, action: str, message: str, do: str) -> None:
    await record_audit_events(
        session, [event_on(known, session.settings, action, "refused", details={"guard": message})]
    )
    raise RefusedByGuard(message, do=do)
