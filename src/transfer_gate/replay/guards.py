"""Who may let a plan run: a second person for many records, nobody for a cancelled one. A refusal is audited, too."""

from typing import Any

from transfer_gate.errors import NothingMatched, RefusedByGuard
from transfer_gate.operators import Act, operator, record_acts
from transfer_gate.replay.plan_store import APPROVED, CANCELLED, KnownPlan, find_plan, now
from transfer_gate.settings import PREFIX, Settings


def act_on(known: KnownPlan, settings: Settings, action: str, outcome: str, **more: Any) -> Act:
    """An act of the operator of `settings` about a plan."""
    return Act(
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


async def check_may_run(settings: Settings, known: KnownPlan, action: str) -> None:
    """Raises RefusedByGuard naming the guard: the plan was cancelled, or lacks the approval of a second person."""
    plan, cancelled = known.plan, known.cancelled
    if cancelled is not None:
        await _refuse(settings, known, action, f"cancelled by {cancelled.by}: {cancelled.why}", "make a new plan")
    if needs_approval(settings, len(plan.items)) and not known.approvals:
        await _refuse(
            settings,
            known,
            action,
            f"approval: {len(plan.items):,} records are more than {PREFIX}REPLAY_APPROVAL_RECORDS "
            f"({settings.replay_approval_records:,}), and nobody but {plan.by} has looked at them",
            f"let another operator run: transfer-gate replay approve {plan.plan_id}",
        )


async def approve(settings: Settings, plan_id: str, *, ticket: str | None = None) -> KnownPlan:
    """Approve exactly this plan. Raises RefusedByGuard for one's own and for a cancelled one, NothingMatched when this
    operator approved it before."""
    known = await find_plan(settings, plan_id)
    by = operator(settings)
    if known.cancelled is not None:
        await _refuse(settings, known, APPROVED, f"cancelled by {known.cancelled.by}", "make a new plan")
    if by == known.plan.by:
        await _refuse(settings, known, APPROVED, f"own approval: {by} made this plan", "ask a second person")
    if any(act.by == by for act in known.approvals):
        raise NothingMatched(f"{by} approved this plan before", do=f"run: transfer-gate replay run {plan_id}")
    await record_acts(settings, act_on(known, settings, APPROVED, "approved", ticket=ticket))
    return known


async def cancel(settings: Settings, plan_id: str, why: str) -> KnownPlan:
    """Cancel a plan for good; a run of it stops. Raises NothingMatched when it was cancelled before."""
    known = await find_plan(settings, plan_id)
    if known.cancelled is not None:
        raise NothingMatched(f"{known.cancelled.by} cancelled this plan before")
    await record_acts(settings, act_on(known, settings, CANCELLED, "cancelled", why=why))
    return known


async def _refuse(settings: Settings, known: KnownPlan, action: str, message: str, do: str) -> None:
    await record_acts(settings, act_on(known, settings, action, "refused", details={"guard": message}))
    raise RefusedByGuard(message, do=do)
