"""How far a plan has come: which of its records are settled, and as what, by the replay ledger; who did what."""

import datetime as dt
from array import array
from collections import Counter
from typing import Any, Literal

from msgspec import Struct

from transfer_gate.kafka import ConsumerRecord
from transfer_gate.kafka.session import Session
from transfer_gate.records.ledger import decode_entry
from transfer_gate.replay.plan import STANDINGS, Plan, Result, Standing, result_by
from transfer_gate.replay.plan_store import RUN, find_plan, needs_approval, replay_partitions

#: Records named by id for each kind of difference; all are counted.
_NAMED = 20
_NUMBERS = {standing: number for number, standing in enumerate(STANDINGS)}


class Difference(Struct, frozen=True, kw_only=True):
    """Records that came to something else than the plan forecast, and the ids of the first of them."""

    forecast: str
    outcome: str
    records: int
    ids: list[str]


class Journal:
    """Standing of every item of a plan; one byte an item."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._index = {item.quarantine_id.encode(): number for number, item in enumerate(plan.items)}
        self._standings = bytearray(len(plan.items))
        self._sent = bytearray(len(plan.items))
        self._differing: dict[tuple[str, str], array[int]] = {}
        #: Items that were sent and are not settled.
        self.in_flight = 0
        #: Outcomes that came in since `count_from_here`, by standing.
        self.fresh: Counter[Standing] = Counter()

    def count_from_here(self) -> None:
        """Start `fresh` anew."""
        self.fresh = Counter()

    def take(self, record: ConsumerRecord) -> None:
        """Take in one record of the ledger, in the order of its partition."""
        if record.key is None or record.value is None:
            return
        number = self._index.get(record.key)
        if number is None or self._standings[number]:
            return
        result = result_by(decode_entry(record.value), self.plan.items[number].attempt, self.plan.plan_id)
        if result is not None:
            self._settle(number, result)

    def sent(self, number: int) -> None:
        """Note that an item stands on the replay topic; it is in flight until it is settled."""
        if not self._standings[number] and not self._sent[number]:
            self._sent[number] = 1
            self.in_flight += 1

    def is_open(self, number: int) -> bool:
        """Whether an item is not settled."""
        return not self._standings[number]

    def open_items(self) -> list[int]:
        """Numbers of the items that are not settled, in the plan's order."""
        return [number for number, standing in enumerate(self._standings) if not standing]

    def counts(self) -> dict[str, int]:
        """Number of items by standing, without those of which there are none."""
        counted = Counter(self._standings)
        return {standing: counted[number] for number, standing in enumerate(STANDINGS) if counted[number]}

    @property
    def settled(self) -> int:
        """How many items are settled, by whomever."""
        return len(self._standings) - self._standings.count(0)

    def differences(self) -> list[Difference]:
        """What came out otherwise than forecast, the most frequent first."""
        found = [
            Difference(
                forecast=forecast,
                outcome=outcome,
                records=len(numbers),
                ids=[self.plan.items[number].quarantine_id for number in numbers[:_NAMED]],
            )
            for (forecast, outcome), numbers in self._differing.items()
        ]
        return sorted(found, key=lambda one: -one.records)

    def _settle(self, number: int, result: Result | str) -> None:
        standing: Standing = result.outcome if isinstance(result, Result) else "elsewhere"
        self._standings[number] = _NUMBERS[standing]
        self.fresh[standing] += 1
        if self._sent[number]:
            self._sent[number] = 0
            self.in_flight -= 1
        if isinstance(result, Result):
            forecast = self.plan.forecasts[self.plan.items[number].forecast]
            if not _same(forecast, result):
                self._differing.setdefault((told(forecast), told(result)), array("q")).append(number)


def _same(forecast: Result, result: Result) -> bool:
    return (
        forecast.outcome == result.outcome
        and set(forecast.released) == set(result.released)
        and forecast.quarantined == result.quarantined
    )


def told(result: Result) -> str:
    """A result in words: `released (email)`, `partly (email): not-withdrawn`, `held: electronic-optin`, `erased`."""
    channels = f" ({', '.join(result.released)})" if result.released else ""
    reasons = ", ".join(dict.fromkeys(reason for reasons in result.quarantined.values() for reason in reasons))
    return f"{result.outcome}{channels}: {reasons}" if reasons else f"{result.outcome}{channels}"


State = Literal["planned", "started", "finished", "cancelled"]


class EventShown(Struct, frozen=True, kw_only=True):
    """An audit event about the plan, as `replay status` shows it."""

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
    acts: list[EventShown]


async def status_of(session: Session, plan_id: str) -> Status:
    """Status of a plan. Raises as `find_plan` does."""
    known, partitions = await find_plan(session, plan_id), await replay_partitions(session)
    plan, journal = known.plan, Journal(known.plan)
    begins, _ = await session.reader.bounds({plan.topic: partitions}, committed_only=True)
    async with session.reader.follow({session.settings.topics.ledger: partitions}) as ledger:
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
    elif any(event.action == RUN and event.outcome != "refused" for event in known.events):
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
        approval_needed=needs_approval(session.settings, len(plan.items)) and not known.approvals,
        approvals=[event.by for event in known.approvals],
        acts=[
            EventShown(
                action=event.action, by=event.by, at=event.at, outcome=event.outcome, why=event.why, ticket=event.ticket
            )
            for event in known.events
        ],
    )
