"""How far a plan has come: which of its records are settled, with which outcome, by the replay ledger."""

import datetime as dt
from array import array
from collections import Counter
from typing import Any, Literal

from msgspec import Struct

from transfer_gate.kafka import ConsumerRecord
from transfer_gate.kafka.session import Session
from transfer_gate.records.ledger import decode_entry
from transfer_gate.replay.plan import STATUSES, ItemStatus, Plan, Result, result_by
from transfer_gate.replay.plan_store import RUN, find_plan, needs_approval, replay_partitions

#: Records named by id for each kind of difference; all are counted.
_NAMED = 20
_NUMBERS = {status: number for number, status in enumerate(STATUSES)}


class Difference(Struct, frozen=True, kw_only=True):
    """Records whose outcome is not the one that the plan forecast, and the ids of the first of them."""

    forecast: str
    outcome: str
    records: int
    ids: list[str]


class Journal:
    """Status of every item of a plan, in a byte each."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._index = {item.quarantine_id.encode(): number for number, item in enumerate(plan.items)}
        self._statuses = bytearray(len(plan.items))
        self._sent = bytearray(len(plan.items))
        self._differing: dict[tuple[str, str], array[int]] = {}
        #: Items that were sent and are not settled.
        self.in_flight = 0
        #: Items that were settled since `count_from_here`, by status.
        self.fresh: Counter[ItemStatus] = Counter()

    def count_from_here(self) -> None:
        """Reset `fresh`."""
        self.fresh = Counter()

    def take(self, record: ConsumerRecord) -> None:
        """Apply a record of the ledger; those of a partition come in order."""
        if record.key is None or record.value is None:
            return
        number = self._index.get(record.key)
        if number is None or self._statuses[number]:
            return
        result = result_by(decode_entry(record.value), self.plan.items[number].attempt, self.plan.plan_id)
        if result is not None:
            self._settle(number, result)

    def sent(self, number: int) -> None:
        """Note that an item was sent to the replay topic; it is in flight until it is settled."""
        if not self._statuses[number] and not self._sent[number]:
            self._sent[number] = 1
            self.in_flight += 1

    def is_open(self, number: int) -> bool:
        """Whether an item is not settled."""
        return not self._statuses[number]

    def open_items(self) -> list[int]:
        """Numbers of the items that are not settled, in the plan's order."""
        return [number for number, status in enumerate(self._statuses) if not status]

    def counts(self) -> dict[str, int]:
        """Number of items by status, without statuses that no item has."""
        counted = Counter(self._statuses)
        return {status: counted[number] for number, status in enumerate(STATUSES) if counted[number]}

    @property
    def settled(self) -> int:
        """How many items are settled, by this plan or otherwise."""
        return len(self._statuses) - self._statuses.count(0)

    def differences(self) -> list[Difference]:
        """Outcomes that differ from the forecast, the most frequent first."""
        found = [
            Difference(
                forecast=forecast,
                outcome=outcome,
                records=len(numbers),
                ids=[self.plan.items[number].quarantine_id for number in numbers[:_NAMED]],
            )
            for (forecast, outcome), numbers in self._differing.items()
        ]
        return sorted(found, key=lambda difference: -difference.records)

    def _settle(self, number: int, result: Result | str) -> None:
        status: ItemStatus = result.outcome if isinstance(result, Result) else "elsewhere"
        self._statuses[number] = _NUMBERS[status]
        self.fresh[status] += 1
        if self._sent[number]:
            self._sent[number] = 0
            self.in_flight -= 1
        if isinstance(result, Result):
            forecast = self.plan.forecasts[self.plan.items[number].forecast]
            if not _same(forecast, result):
                self._differing.setdefault((in_words(forecast), in_words(result)), array("q")).append(number)


def _same(forecast: Result, result: Result) -> bool:
    return (
        forecast.outcome == result.outcome
        and set(forecast.released) == set(result.released)
        and forecast.quarantined == result.quarantined
    )


def in_words(result: Result) -> str:
    """A result as text: `released (email)`, `partly (email): not-withdrawn`, `held: electronic-optin`, `erased`."""
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
    """A plan and its outcomes so far. `outcomes` counts its records by status (`open` ones are not decided);
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
    published, partitions = await find_plan(session, plan_id), await replay_partitions(session)
    plan, journal = published.plan, Journal(published.plan)
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
    elif published.cancelled is not None:
        state = "cancelled"
    elif any(event.action == RUN and event.outcome != "refused" for event in published.events):
        state = "started"
    return Status(
        plan_id=plan_id,
        digest=published.digest,
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
        approval_needed=needs_approval(session.settings, len(plan.items)) and not published.approvals,
        approvals=[event.by for event in published.approvals],
        acts=[
            EventShown(
                action=event.action, by=event.by, at=event.at, outcome=event.outcome, why=event.why, ticket=event.ticket
            )
            for event in published.events
        ],
    )
