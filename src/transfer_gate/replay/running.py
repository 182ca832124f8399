"""Run a plan by its id: check the guards, connect, run it with somebody watching, and audit begin and end."""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence

from transfer_gate.errors import CheckFailed, NothingMatched
from transfer_gate.kafka.clients import broker_errors
from transfer_gate.kafka.cluster import open_cluster
from transfer_gate.kafka.follow import Follower, replay_partitions
from transfer_gate.kafka.reader import bounds
from transfer_gate.operators import audited
from transfer_gate.quarantine.destination import Destinations
from transfer_gate.quarantine.sending import open_sender
from transfer_gate.replay.guards import act_on, check_may_run
from transfer_gate.replay.pace import PacedSender
from transfer_gate.replay.plan import checked_id
from transfer_gate.replay.plan_store import RUN, KnownPlan, find_plan
from transfer_gate.replay.report import Report, RunOptions, Screen
from transfer_gate.replay.run import Run
from transfer_gate.settings import Settings


async def run_plan(settings: Settings, plan_id: str, options: RunOptions, screen: Screen) -> Report:
    """Run a plan by its id, or go on with it.

    Raises RefusedByGuard, NothingMatched when nothing is left to send, CheckFailed when no gate is running,
    InvalidInput, BrokerUnavailable.
    """
    checked_id(plan_id)
    partitions = await replay_partitions(settings)
    async with broker_errors(settings), Follower(settings, settings.topics.audit, 1) as acts:
        known = await find_plan(settings, plan_id, acts)
        await check_may_run(settings, known, RUN)
        async with open_cluster(settings) as cluster, contextlib.AsyncExitStack() as stack:
            ledger = await stack.enter_async_context(Follower(settings, settings.topics.ledger, partitions))
            sender = await stack.enter_async_context(open_sender(settings))
            to = Destinations(await cluster.placements(settings, partitions))
            run = Run(settings, known, options, screen, PacedSender(sender, to, plan_id, options.rate))
            async for records in ledger.so_far():
                for record in records:
                    run.journal.take(record)
            if run.journal.settled == len(known.plan.items):
                raise NothingMatched("every record of this plan is settled", do=f"see replay status {plan_id}")
            run.journal.count_from_here()
            screen.begin(len(known.plan.items))
            if not await cluster.group_members(settings.app_id):
                raise CheckFailed(
                    f"no gate is running: group {settings.app_id} has no members; nothing was sent",
                    do="start one with: transfer-gate worker",
                )
            watchers = (run.follow_outcomes(ledger), run.watch_for_cancel(acts), run.watch_gate(cluster))
            begins, _ = await bounds(settings, {known.plan.topic: partitions}, committed_only=True)
            work = run.go({place.partition: begin for place, begin in begins.items()})
            await _audited(settings, known, run, options, _together(work, watchers))
            report = run.report()
            if not report.sent and not report.undecided and not run.journal.fresh:
                raise NothingMatched(
                    f"nothing is left that could be sent: {report.gone:,} records were deleted by retention, "
                    f"{report.altered:,} are not those that were planned",
                    do=f"see: transfer-gate replay status {plan_id}",
                )
            return report


async def _audited(
    settings: Settings, known: KnownPlan, run: Run, options: RunOptions, work: Coroutine[None, None, None]
) -> None:
    """Work, and write to the audit topic that it begins and how it ends."""
    asked = {name: getattr(options, name) for name in ("rate", "limit", "canary", "breaker")}
    details = {"open": len(run.journal.open_items()), **asked}
    act = act_on(known, settings, RUN, "started", ticket=options.ticket, details=details)
    async with audited(settings, act) as ending:
        try:
            await work
        finally:
            report = run.report()
            differing = sum(one.records for one in report.differences)
            counts = {"outcomes": report.outcomes, "sent": report.sent, "gone": report.gone, "altered": report.altered}
            ending.details = counts | {"differing": differing, "seconds": report.seconds}
        ending.outcome = report.stopped or "done"


async def _together(work: Coroutine[None, None, None], watchers: Sequence[Coroutine[None, None, None]]) -> None:
    """Work until it is done; what a watcher raises ends it."""
    task = asyncio.create_task(work)
    beside = [asyncio.create_task(watcher) for watcher in watchers]
    try:
        await asyncio.wait([task, *beside], return_when=asyncio.FIRST_COMPLETED)
        for ended in (task, *beside):
            if ended.done():
                ended.result()
    finally:
        for each in (task, *beside):
            each.cancel()
        await asyncio.gather(task, *beside, return_exceptions=True)
