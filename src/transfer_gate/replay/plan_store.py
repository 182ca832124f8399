"""The plan store: plans published on the audit topic, so that any machine can run them, who approved or cancelled them,
and their planned records in quarantine.
"""

import datetime as dt
from array import array
from collections.abc import AsyncGenerator, Iterable
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.errors import InvalidInput, NothingMatched, RefusedByGuard
from transfer_gate.kafka import ConsumerRecord, TopicPartition
from transfer_gate.kafka.reader import Follower, Reader
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
    fingerprint_of,
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

#: The columns of a plan that may be long, and how many entries a part holds: well below Kafka's largest message, 1 MiB.
_COLUMNS: Final[dict[str, tuple[Any, int]]] = {
    "items": (tuple[Item, ...], 4000),
    "forecasts": (tuple[Result, ...], 300),
    "moves": (tuple[Move, ...], 2000),
}
_NO_COLUMNS: Final[dict[str, Any]] = dict.fromkeys(_COLUMNS, ())


#: Columns by digest and number of the part that they stand in.
_Parts = dict[tuple[str | None, int], dict[str, Any]]


class PublishedPlan:
    """A plan, its digest, and the audit events about it in their order."""

    def __init__(self, plan: Plan, digest: str, events: list[AuditEvent]) -> None:
        self.plan = plan
        self.digest = digest
        self.events = events

    @property
    def approvals(self) -> list[AuditEvent]:
        """Approvals of exactly this plan by another operator than the planner."""
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


async def find_plan(session: Session, plan_id: str, audit: Follower | None = None) -> PublishedPlan:
    """The plan of an id, from its file on this machine, else from the audit topic, which `audit` follows, unread.

    Raises InvalidInput when no such plan was published, RefusedByGuard when its content is not what was published.
    """
    checked_id(plan_id)
    if audit is not None:
        return await _find(session.settings, plan_id, audit)
    await replay_partitions(session)
    async with session.reader.follow({session.settings.topics.audit: 1}) as follower:
        return await _find(session.settings, plan_id, follower)


async def replay_partitions(session: Session, *more: str) -> int:
    """How many partitions quarantine, replay and ledger share. Raises BrokerUnavailable; InvalidInput when a topic is
    missing: one of these, the audit topic or one of `more`.
    """
    topics = session.settings.topics
    found = await session.cluster.partitions(topics.quarantine, topics.replay, topics.ledger, topics.audit, *more)
    return found[topics.quarantine]


async def _find(settings: Settings, plan_id: str, follower: Follower) -> PublishedPlan:
    local = load_plan(plan_file(settings.data_dir, plan_id))
    events: list[AuditEvent] = []
    parts: _Parts = {}
    async for records in follower.so_far():
        for record in records:
            event = event_about(record, plan_id)
            if event is None:
                continue
            if event.action != PART:
                events.append(event)
            elif local is None:
                parts[event.digest, int(event.details["part"])] = _part_of(event)
    planned = next((event for event in events if event.action == PLANNED), None)
    if planned is None or planned.digest is None:
        raise InvalidInput(
            f"no plan {plan_id} on {settings.topics.audit}", do="make a plan with: transfer-gate replay plan"
        )
    plan = local if local is not None else _assembled(planned, parts)
    if plan is None or plan.plan_id != plan_id or digest_of(plan) != planned.digest:
        where = "the plan file" if local is not None else "the plan on the audit topic"
        raise RefusedByGuard(
            f"digest: {where} is not what {planned.by} planned (digest {planned.digest[:12]}…)",
            do="make a new plan" if local is None else "remove the file: the audit topic has the plan as well",
        )
    return PublishedPlan(plan, planned.digest, events)


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
    """Columns of a part; none when it is damaged, so that the digest of the plan will not be the published one."""
    try:
        found: dict[str, Any] = {
            name: msgspec.convert(event.details[name], kind)
            for name, (kind, _) in _COLUMNS.items()
            if name in event.details
        }
        return found | {"items": Items(found["items"])} if "items" in found else found
    except ValueError:  # msgspec.ValidationError is a ValueError
        return {}


def _assembled(planned: AuditEvent, parts: _Parts) -> Plan | None:
    """The plan from its parts; None when a part is missing or damaged."""
    columns, items = dict(_NO_COLUMNS), list[Items]()
    try:
        for number in range(int(planned.details["parts"])):
            for name, part in parts[planned.digest, number].items():
                if name == "items":
                    items.append(part)
                else:
                    columns[name] += part
        return replace(
            msgspec.convert(planned.details["plan"], Plan), **columns | {"items": Items(chain.from_iterable(items))}
        )
    except (KeyError, ValueError, TypeError):  # msgspec.ValidationError is a ValueError
        return None


def now() -> dt.datetime:
    """The clock of the commands."""
    return dt.datetime.now(dt.UTC)


def event_on(published: PublishedPlan, settings: Settings, action: str, outcome: str, **more: Any) -> AuditEvent:
    """An audit event about a plan, by the operator of `settings`."""
    return AuditEvent(
        action=action,
        by=operator(settings),
        at=now(),
        outcome=outcome,
        plan_id=published.plan.plan_id,
        digest=published.digest,
        **more,
    )


def needs_approval(settings: Settings, records: int) -> bool:
    """Whether a plan of so many records needs the approval of a second operator."""
    return records > settings.replay_approval_records


async def check_may_run(session: Session, published: PublishedPlan, action: str) -> None:
    """Raises RefusedByGuard naming the guard: the plan was cancelled, or lacks the approval of a second operator."""
    settings, plan, cancelled = session.settings, published.plan, published.cancelled
    if cancelled is not None:
        await _refuse(session, published, action, f"cancelled by {cancelled.by}: {cancelled.why}", "make a new plan")
    if needs_approval(settings, len(plan.items)) and not published.approvals:
        await _refuse(
            session,
            published,
            action,
            f"approval: {len(plan.items):,} records are more than {PREFIX}REPLAY_APPROVAL_RECORDS "
            f"({settings.replay_approval_records:,}), and only {plan.by} has looked at them",
            f"let another operator run: transfer-gate replay approve {plan.plan_id}",
        )


async def approve(session: Session, plan_id: str, *, ticket: str | None = None) -> PublishedPlan:
    """Approve exactly this plan. Raises RefusedByGuard when it is the operator's own, or cancelled; NothingMatched when
    this operator approved it before."""
    published = await find_plan(session, plan_id)
    by = operator(session.settings)
    if published.cancelled is not None:
        await _refuse(session, published, APPROVED, f"cancelled by {published.cancelled.by}", "make a new plan")
    if by == published.plan.by:
        await _refuse(
            session, published, APPROVED, f"own approval: {by} made this plan", "let another operator approve it"
        )
    if any(event.by == by for event in published.approvals):
        raise NothingMatched(f"{by} approved this plan before", do=f"run: transfer-gate replay run {plan_id}")
    await record_audit_events(session, [event_on(published, session.settings, APPROVED, "approved", ticket=ticket)])
    return published


async def cancel(session: Session, plan_id: str, why: str) -> PublishedPlan:
    """Cancel a plan for good; a run of it stops. Raises NothingMatched when it was cancelled before."""
    published = await find_plan(session, plan_id)
    if published.cancelled is not None:
        raise NothingMatched(f"{published.cancelled.by} cancelled this plan before")
    await record_audit_events(session, [event_on(published, session.settings, CANCELLED, "cancelled", why=why)])
    return published


async def _refuse(session: Session, published: PublishedPlan, action: str, message: str, do: str) -> None:
    await record_audit_events(
        session, [event_on(published, session.settings, action, "refused", details={"guard": message})]
    )
    raise RefusedByGuard(message, do=do)


class PlannedRecords(Struct, frozen=True):
    """Records of a partition in the order of their offsets, each with the number of its item; numbers of items that
    retention deleted (`gone`), and of those whose record is not the planned record (`altered`)."""

    records: list[tuple[int, ConsumerRecord]]
    gone: list[int]
    altered: list[int]


async def planned_records(
    reader: Reader, topic: str, wanted: Iterable[tuple[int, Item]], most: int = 500
) -> AsyncGenerator[PlannedRecords, None]:
    """Read the records of items, given with their numbers, from a quarantine topic, in lists of up to `most`; each
    partition in its turn. Raises BrokerUnavailable.
    """
    offsets: dict[TopicPartition, array[int]] = {}
    items: dict[tuple[int, int], tuple[int, str]] = {}
    for number, item in wanted:
        offsets.setdefault(TopicPartition(topic, item.partition), array("q")).append(item.offset)
        items[item.partition, item.offset] = number, item.fingerprint
    async for picked in reader.pick(offsets, most):
        partition = picked.place.partition
        gone = [items.pop((partition, offset))[0] for offset in picked.missing]
        records, altered = [], []
        for record in picked.records:
            number, fingerprint = items.pop((partition, record.offset))
            if fingerprint_of(record) == fingerprint:
                records.append((number, record))
            else:
                altered.append(number)
        yield PlannedRecords(records, gone, altered)
