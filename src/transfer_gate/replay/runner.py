"""Run a plan by its id: send its records to the gate at a rate, follow their outcomes, stop when a guard says so."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from transfer_gate.errors import CheckFailed, NothingMatched
from transfer_gate.kafka import ConsumerRecord
from transfer_gate.kafka.producer import Sender
from transfer_gate.kafka.reader import Follower
from transfer_gate.kafka.session import Session
from transfer_gate.operators import audited
from transfer_gate.quarantine.search import Destinations
from transfer_gate.records.replay_requests import requesting
from transfer_gate.replay.plan import BACK, checked_id
from transfer_gate.replay.plan_store import (
    RUN,
    PlannedRecords,
    PublishedPlan,
    check_may_run,
    event_about,
    event_on,
    find_plan,
    is_cancel,
    planned_records,
    replay_partitions,
)
from transfer_gate.replay.progress import Difference, Journal

#: How long the gate's group may have no member while records are in flight, seconds: a worker takes a while to restart.
_AWAY_SECONDS: Final = 30.0


class RunOptions(Struct, frozen=True, kw_only=True):
    """Options of a run. `rate`: records a second; `limit`, `canary`: records; `breaker`: a share, 0 to 1."""

    rate: float | None = None
    limit: int | None = None
    canary: int | None = None
    breaker: float
    ticket: str | None = None
    away_seconds: float = _AWAY_SECONDS


class Report(Struct, frozen=True, kw_only=True):
    """The outcome of a run. `outcomes` counts all records of the plan by status, `sent` those that this run sent;
    `gone` records were deleted by retention, `altered` ones are not the planned records: neither is sent. `stopped`:
    why the run ended early."""

    plan_id: str
    digest: str
    records: int
    outcomes: dict[str, int]
    sent: int
    gone: int
    altered: int
    stopped: str | None
    seconds: float
    differences: list[Difference]

    @property
    def undecided(self) -> int:
        """Records that were not decided and still can be: neither gone nor altered."""
        return self.outcomes.get("open", 0) - self.gone - self.altered


class Screen(Protocol):
    """Shows a run to its operator."""

    def begin(self, records: int) -> None:
        """Begin, with the number of records of the plan."""

    def show(self, settled: int, in_flight: int) -> None:
        """Show how many records are settled, and how many in flight."""

    async def go_on(self, report: Report) -> bool:
        """Whether to send the rest, after this outcome of the canary."""


#: A rate is kept by pauses between packets of this many seconds' worth.
_PACE_SECONDS: Final = 0.1
_PACKET: Final = 500


class PacedSender:
    """Sends records at a rate, at least once: the gate ignores a record that comes a second time."""

    def __init__(self, sender: Sender, to: Destinations, run: str, rate: float | None) -> None:
        """`run` is the plan id, `rate` records a second at most."""
        self._sender = sender
        self._to = to
        self._run = run
        self._rate = rate
        self._free_at = time.monotonic()

    @property
    def packet(self) -> int:
        """How many records to send at a time."""
        return _PACKET if self._rate is None else max(1, min(_PACKET, int(self._rate * _PACE_SECONDS)))

    async def send(self, records: Sequence[ConsumerRecord]) -> None:
        """Send records in order, and wait until every in-sync replica has them."""
        await self._pace(len(records))
        for record in records:
            headers = requesting("replay", self._run, None, record.headers)
            await self._sender.send(self._to.of(record), record.key, record.value, headers)
        await self._sender.flush()

    async def _pace(self, records: int) -> None:
        if self._rate is None:
            return
        wait = self._free_at - time.monotonic()
        self._free_at = max(self._free_at, time.monotonic()) + records / self._rate
        if wait > 0:
            await asyncio.sleep(wait)


#: Most records in flight; fewer at first, so that the breaker stops a bad run early.
_WINDOW: Final = 6000
_FIRST_WINDOW: Final = 200
#: Outcomes that the breaker waits for before it may stop a run.
_BREAKER_LEAST: Final = 100
_WATCH_SECONDS: Final = 0.5


class Run:
    """A run of a plan. All of its state is on the brokers, so that another run can go on from there."""

    def __init__(
        self, session: Session, published: PublishedPlan, options: RunOptions, screen: Screen, sender: PacedSender
    ) -> None:
        self._session = session
        self._known = published
        self._options = options
        self._screen = screen
        self._sender = sender
        self._moved = asyncio.Event()
        self._began = time.monotonic()
        self._sent = 0
        self._gone: set[int] = set()
        self._altered: set[int] = set()
        self._alone = False
        self.journal = Journal(published.plan)
        self.stopped: str | None = None

    def report(self) -> Report:
        """The outcome so far."""
        plan, counts = self._known.plan, self.journal.counts()
        return Report(
            plan_id=plan.plan_id,
            digest=self._known.digest,
            records=len(plan.items),
            outcomes=counts,
            sent=self._sent,
            gone=len(self._gone),
            altered=len(self._altered),
            # A run whose records are all decided was not cut short.
            stopped=self.stopped if counts.get("open", 0) > len(self._gone | self._altered) else None,
            seconds=round(time.monotonic() - self._began, 3),
            differences=self.journal.differences(),
        )

    def stop(self, why: str) -> None:
        """Send no more; wait for what is in flight."""
        if self.stopped is None:
            self.stopped = why
        self._moved.set()

    async def go(self, begins: Mapping[int, int]) -> None:
        """Send every open record, within the options. `begins`: where quarantine begins, by partition."""
        options, items = self._options, self._known.plan.items
        left = self.journal.open_items()
        self._gone = {number for number in left if items[number].offset < begins.get(items[number].partition, 0)}
        left = [number for number in left if number not in self._gone]
        most = len(left) if options.limit is None else min(options.limit, len(left))
        canary = min(options.canary or 0, most)
        if canary:
            await self._leg(left[:canary])
            if self.stopped is None and canary < most and not await self._screen.go_on(self.report()):
                self.stop("canary: the operator did not go on")
        if self.stopped is None:
            await self._leg(left[canary:most])
        if most < len(left):
            self.stop(f"limit: {options.limit:,} records")

    async def _leg(self, numbers: Sequence[int]) -> None:
        plan = self._known.plan
        wanted = ((number, plan.items[number]) for number in numbers)
        found = planned_records(self._session.reader, plan.topic, wanted, self._sender.packet)
        async with contextlib.aclosing(found) as parts:
            async for part in parts:
                await self._send(part)
                if self.stopped is not None:
                    break
        await self._until(lambda: self.journal.in_flight == 0, even_stopped=True)

    async def _send(self, found: PlannedRecords) -> None:
        self._gone.update(found.gone)
        self._altered.update(found.altered)
        records = [(number, record) for number, record in found.records if self.journal.is_open(number)]
        while records and self._goes_on():
            await self._until(lambda: self.journal.in_flight < self._window())
            if not self._goes_on():
                return
            now = records[: min(self._window() - self.journal.in_flight, self._sender.packet)]
            records = records[len(now) :]
            for number, _ in now:
                self.journal.sent(number)
            await self._sender.send([record for _, record in now])
            self._sent += len(now)

    def _goes_on(self) -> bool:
        return self.stopped is None

    def _window(self) -> int:
        return min(_WINDOW, _FIRST_WINDOW + 2 * self.journal.fresh.total())

    async def _until(self, holds: Callable[[], bool], *, even_stopped: bool = False) -> None:
        """Wait for outcomes until `holds`. A stop ends it unless `even_stopped`; a gate that is away always does."""
        while not holds() and not self._alone and (even_stopped or self._goes_on()):
            self._moved.clear()
            await self._moved.wait()

    async def follow_outcomes(self, ledger: Follower) -> None:
        """Apply what the gate writes to the ledger."""
        while True:
            for record in await ledger.more():
                self.journal.take(record)
            self._check_breaker()
            self._screen.show(self.journal.settled, self.journal.in_flight)
            self._moved.set()

    def _check_breaker(self) -> None:
        fresh = self.journal.fresh
        decided = fresh.total() - fresh["elsewhere"]
        back = sum(count for status, count in fresh.items() if status in BACK)
        if decided >= _BREAKER_LEAST and back > self._options.breaker * decided:
            share = self._options.breaker
            self.stop(f"breaker: {back:,} of {decided:,} went back to quarantine, more than {share:.0%}")

    async def watch_for_cancel(self, audit: Follower) -> None:
        """Stop when an operator cancels the plan."""
        while True:
            for record in await audit.more():
                event = event_about(record, self._known.plan.plan_id)
                if event is not None and is_cancel(event):
                    self.stop(f"cancelled by {event.by}: {event.why}")

    async def watch_gate(self) -> None:
        """Stop when records are in flight and no gate runs to decide them."""
        there_at = time.monotonic()
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if not self.journal.in_flight or await self._session.cluster.group_members(self._session.settings.app_id):
                there_at = time.monotonic()
            elif time.monotonic() - there_at > self._options.away_seconds:
                self._alone, self.stopped = True, None
                self.stop(f"no gate is running: {self.journal.in_flight:,} records are sent and not decided")


async def run_plan(session: Session, plan_id: str, options: RunOptions, screen: Screen) -> Report:
    """Run a plan by its id, or continue it.

    Raises RefusedByGuard, NothingMatched when nothing is left to send, CheckFailed when no gate is running,
    InvalidInput, BrokerUnavailable.
    """
    checked_id(plan_id)
    partitions = await replay_partitions(session)
    settings, cluster, reader = session.settings, session.cluster, session.reader
    async with contextlib.AsyncExitStack() as stack:
        audit = await stack.enter_async_context(reader.follow({settings.topics.audit: 1}))
        published = await find_plan(session, plan_id, audit)
        await check_may_run(session, published, RUN)
        ledger = await stack.enter_async_context(reader.follow({settings.topics.ledger: partitions}))
        sender = await stack.enter_async_context(session.producer.sender(settings.topics.replay))
        to = Destinations(await cluster.placements(settings, partitions))
        run = Run(session, published, options, screen, PacedSender(sender, to, plan_id, options.rate))
        async for records in ledger.so_far():
            for record in records:
                run.journal.take(record)
        if run.journal.settled == len(published.plan.items):
            raise NothingMatched("every record of this plan is settled", do=f"see replay status {plan_id}")
        run.journal.count_from_here()
        screen.begin(len(published.plan.items))
        if not await cluster.group_members(settings.app_id):
            raise CheckFailed(
                f"no gate is running: group {settings.app_id} has no members; nothing was sent",
                do="start a worker with: transfer-gate worker",
            )
        watchers = (run.follow_outcomes(ledger), run.watch_for_cancel(audit), run.watch_gate())
        begins, _ = await reader.bounds({published.plan.topic: partitions}, committed_only=True)
        work = run.go({place.partition: begin for place, begin in begins.items()})
        await _audited(session, published, run, options, _together(work, watchers))
        report = run.report()
        if not report.sent and not report.undecided and not run.journal.fresh:
            raise NothingMatched(
                f"nothing is left that could be sent: {report.gone:,} records were deleted by retention, "
                f"{report.altered:,} are not those that were planned",
                do=f"see: transfer-gate replay status {plan_id}",
            )
        return report


async def _audited(
    session: Session, published: PublishedPlan, run: Run, options: RunOptions, work: Coroutine[None, None, None]
) -> None:
    """Run `work`, and write to the audit topic when it begins and how it ends."""
    given = {name: getattr(options, name) for name in ("rate", "limit", "canary", "breaker")}
    details = {"open": len(run.journal.open_items()), **given}
    event = event_on(published, session.settings, RUN, "started", ticket=options.ticket, details=details)
    async with audited(session, event) as ending:
        try:
            await work
        finally:
            report = run.report()
            differing = sum(difference.records for difference in report.differences)
            counts = {"outcomes": report.outcomes, "sent": report.sent, "gone": report.gone, "altered": report.altered}
            ending.details = counts | {"differing": differing, "seconds": report.seconds}
        ending.outcome = report.stopped or "done"


async def _together(work: Coroutine[None, None, None], watchers: Sequence[Coroutine[None, None, None]]) -> None:
    """Run `work` to its end; an exception of a watcher ends it."""
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
