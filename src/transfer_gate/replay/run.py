"""One run of a plan: sends records to the gate, follows what they come to, and stops when it should."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from transfer_gate.kafka.cluster import Cluster
from transfer_gate.kafka.follow import Follower
from transfer_gate.replay.pace import PacedSender
from transfer_gate.replay.plan_store import KnownPlan, act_about, is_cancel
from transfer_gate.replay.planned_records import FrozenRecords, Reading
from transfer_gate.replay.progress import Journal
from transfer_gate.replay.report import Report, RunOptions, Screen
from transfer_gate.replay.results import BACK
from transfer_gate.settings import Settings

#: Most records in flight; fewer at first, so that the breaker stops a bad run early.
_WINDOW: Final = 6000
_FIRST_WINDOW: Final = 200
#: Outcomes that the breaker waits for before it judges.
_BREAKER_LEAST: Final = 100
_WATCH_SECONDS: Final = 0.5


class Run:
    """One run of a plan. Everything that it knows stands on the broker, so another run may go on from there."""

    def __init__(
        self, settings: Settings, known: KnownPlan, options: RunOptions, screen: Screen, sender: PacedSender
    ) -> None:
        self._settings = settings
        self._known = known
        self._options = options
        self._screen = screen
        self._sender = sender
        self._frozen = FrozenRecords(settings, known.plan.topic)
        self._moved = asyncio.Event()
        self._began = time.monotonic()
        self._sent = 0
        self._gone: set[int] = set()
        self._altered: set[int] = set()
        self._alone = False
        self.journal = Journal(known.plan)
        self.stopped: str | None = None

    def report(self) -> Report:
        """What it came to so far."""
        plan, counts = self._known.plan, self.journal.counts()
        return Report(
            plan_id=plan.plan_id,
            digest=self._known.digest,
            records=len(plan.items),
            outcomes=counts,
            sent=self._sent,
            gone=len(self._gone),
            altered=len(self._altered),
            # Once everything is decided, nothing was cut short.
            stopped=self.stopped if counts.get("open", 0) > len(self._gone | self._altered) else None,
            seconds=round(time.monotonic() - self._began, 3),
            differences=self.journal.differences(),
        )

    def stop(self, why: str) -> None:
        """Send no more; what is in flight is waited for."""
        if self.stopped is None:
            self.stopped = why
        self._moved.set()

    async def go(self, begins: Mapping[int, int]) -> None:
        """Send everything that is open, within the options; quarantine begins at these offsets by partition."""
        options, items = self._options, self._known.plan.items
        left = self.journal.open_items()
        self._gone = {number for number in left if items[number].offset < begins.get(items[number].partition, 0)}
        left = [number for number in left if number not in self._gone]
        most = len(left) if options.limit is None else min(options.limit, len(left))
        canary = min(options.canary or 0, most)
        if canary:
            await self._leg(left[:canary])
            if self.stopped is None and canary < most and not await self._screen.go_on(self.report()):
                self.stop("canary: not told to go on")
        if self.stopped is None:
            await self._leg(left[canary:most])
        if most < len(left):
            self.stop(f"limit: {options.limit:,} records")

    async def _leg(self, numbers: Sequence[int]) -> None:
        items = self._known.plan.items
        wanted = ((number, items[number]) for number in numbers)
        async with contextlib.aclosing(self._frozen.read(wanted, self._sender.packet)) as readings:
            async for reading in readings:
                await self._pass_on(reading)
                if self.stopped is not None:
                    break
        await self._until(lambda: self.journal.in_flight == 0, even_stopped=True)

    async def _pass_on(self, reading: Reading) -> None:
        self._gone.update(reading.gone)
        self._altered.update(reading.altered)
        records = [(number, record) for number, record in reading.records if self.journal.is_open(number)]
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
        """Wait for outcomes. A stop ends it, unless what is in flight is waited for; an absent gate ends that too."""
        while not holds() and not self._alone and (even_stopped or self._goes_on()):
            self._moved.clear()
            await self._moved.wait()

    async def follow_outcomes(self, ledger: Follower) -> None:
        """Take in what the gate writes to the ledger."""
        while True:
            for record in await ledger.more():
                self.journal.take(record)
            self._check_breaker()
            self._screen.show(self.journal.settled, self.journal.in_flight)
            self._moved.set()

    def _check_breaker(self) -> None:
        fresh = self.journal.fresh
        decided = fresh.total() - fresh["elsewhere"]
        back = sum(count for standing, count in fresh.items() if standing in BACK)
        if decided >= _BREAKER_LEAST and back > self._options.breaker * decided:
            share = self._options.breaker
            self.stop(f"breaker: {back:,} of {decided:,} went back to quarantine, more than {share:.0%}")

    async def watch_for_cancel(self, acts: Follower) -> None:
        """Stop when somebody cancels the plan."""
        while True:
            for record in await acts.more():
                act = act_about(record, self._known.plan.plan_id)
                if act is not None and is_cancel(act):
                    self.stop(f"cancelled by {act.by}: {act.why}")

    async def watch_gate(self, cluster: Cluster) -> None:
        """Stop when records are in flight and nobody is there to decide them."""
        there_at = time.monotonic()
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if not self.journal.in_flight or await cluster.group_members(self._settings.app_id):
                there_at = time.monotonic()
            elif time.monotonic() - there_at > self._options.away_seconds:
                self._alone, self.stopped = True, None
                self.stop(f"no gate is running: {self.journal.in_flight:,} records wait to be decided")
