"""Where a plan stands: counted from the ledger, with who approved, ran and cancelled it."""

import datetime as dt
from typing import Any, Literal

from msgspec import Struct

from transfer_gate.kafka.clients import broker_errors
from transfer_gate.kafka.follow import Follower, replay_partitions
from transfer_gate.kafka.reader import bounds
from transfer_gate.replay.guards import needs_approval
from transfer_gate.replay.plan_store import RUN, find_plan
from transfer_gate.replay.progress import Difference, Journal
from transfer_gate.settings import Settings

State = Literal["planned", "started", "finished", "cancelled"]


class ActSeen(Struct, frozen=True, kw_only=True):
    """One act about the plan."""

    action: str
    by: str
    at: dt.datetime
    outcome: str
    why: str | None = None
    ticket: str | None = None


class Status(Struct, frozen=True, kw_only=True):
    """A plan and what became of it. `outcomes` counts its records by standing (`open` ones are not decided);
    `gone`: open ones that retention has deleted, which can't be sent any more. `finished`: nothing is left to send."""

    plan_id: str
    digest: str
    state: State
    by: str
    at: dt.datetime
    ticket: str | None
    filter: dict[str, Any]
    records: int
    settled: int
    gone: int
    forecast: dict[str, int]
    outcomes: dict[str, int]
    differences: list[Difference]
    approval_needed: bool
    approvals: list[str]
    acts: list[ActSeen]


async def status_of(settings: Settings, plan_id: str) -> Status:
    """Status of a plan. Raises as `find_plan` does."""
    known, partitions = await find_plan(settings, plan_id), await replay_partitions(settings)
    plan, journal = known.plan, Journal(known.plan)
    async with broker_errors(settings):
        begins, _ = await bounds(settings, {plan.topic: partitions}, committed_only=True)
        async with Follower(settings, settings.topics.ledger, partitions) as ledger:
            async for records in ledger.so_far():
                for record in records:
                    journal.take(record)
    first = {place.partition: begin for place, begin in begins.items()}
    left = [plan.items[number] for number in journal.open_items()]
    gone = sum(item.offset < first.get(item.partition, 0) for item in left)
    state: State = "planned"
    if len(left) == gone:
        state = "finished"
    elif known.cancelled is not None:
        state = "cancelled"
    elif any(act.action == RUN and act.outcome != "refused" for act in known.acts):
        state = "started"
    return Status(
        plan_id=plan_id,
        digest=known.digest,
        state=state,
        by=plan.by,
        at=plan.at,
        ticket=plan.ticket,
        filter=plan.filter,
        records=len(plan.items),
        settled=journal.settled,
        gone=gone,
        forecast=plan.outcomes(),
        outcomes=journal.counts(),
        differences=journal.differences(),
        approval_needed=needs_approval(settings, len(plan.items)) and not known.approvals,
        approvals=[act.by for act in known.approvals],
        acts=[
            ActSeen(action=act.action, by=act.by, at=act.at, outcome=act.outcome, why=act.why, ticket=act.ticket)
            for act in known.acts
        ],
    )
