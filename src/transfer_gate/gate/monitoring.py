"""What a worker measures: counters once a round, gauges when they are scraped, lag, and records that were deleted
undecided. No decision waits for it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, get_args

from msgspec import Struct
from prometheus_client import Counter

from transfer_gate.gate.decider import OUTSIDE_RULES
from transfer_gate.gate.inbox import Passed, RoundRecords
from transfer_gate.gate.round import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.kafka.coordinator import Committed
from transfer_gate.kafka.watermarks import Watermarks
from transfer_gate.model.terms import RuleId
from transfer_gate.observe import metrics
from transfer_gate.observe.logs import summary
from transfer_gate.observe.metrics import NONE, TIMELY_SECONDS, UNKNOWN, partner_labels
from transfer_gate.policy.decide import DEFINITIONS

ASK_SECONDS: Final = 5.0


class Lag:
    """Asks for high watermarks now and then, on connections that no decision waits for."""

    def __init__(self, options: Mapping[str, Any], topics: Collection[str]) -> None:
        self._marks = {topic: Watermarks(options, topic) for topic in topics}
        self._begins: dict[tuple[str, int], int] = {}
        self._ends: dict[tuple[str, int], int] = {}
        self._following: asyncio.Task[None] | None = None

    async def start(self, partitions: Collection[int]) -> None:
        """Connect, and follow `partitions`, as they are at each look. Raises aiokafka's connection errors."""
        await asyncio.gather(*(marks.start() for marks in self._marks.values()))
        self._following = asyncio.create_task(self._follow(partitions))

    async def close(self) -> None:
        """Disconnect."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        await asyncio.gather(*(marks.close() for marks in self._marks.values()))

    async def begins(self, topic: str, partitions: set[int]) -> dict[int, int]:
        """First offset that each partition holds now; nothing without an answer in time."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self._marks[topic].begins(partitions)
        except TimeoutError:
            return {}

    def behind(self, topic: str, partition: int, position: int | None) -> int | None:
        """Offsets from `position`, by default the first that is held, to the end; None while that is not known."""
        end, begin = self._ends.get((topic, partition)), self._begins.get((topic, partition), 0)
        return None if end is None else max(0, end - (begin if position is None else position))

    async def _follow(self, partitions: Collection[int]) -> None:
        while True:
            numbers = set(partitions)
            await asyncio.gather(*(self._ask(topic, numbers) for topic in self._marks))
            await asyncio.sleep(ASK_SECONDS if numbers else ASK_SECONDS / 10)

    async def _ask(self, topic: str, numbers: set[int]) -> None:
        marks = self._marks[topic]
        found: dict[tuple[str, int], int] = {}
        try:
            async with asyncio.timeout(ASK_SECONDS):
                if unknown := {number for number in numbers if (topic, number) not in self._begins}:
                    begins = await marks.begins(unknown)
                    self._begins |= {(topic, number): begin for number, begin in begins.items()}
                ordered = sorted(numbers)
                ends = await asyncio.gather(*(marks.end(number) for number in ordered))
                found = {(topic, number): end for number, end in zip(ordered, ends, strict=True)}
        except Exception as error:  # noqa: BLE001 - what only watches must not end
            # Better no lag than one of a while ago.
            logger.warning("the lag of a topic is not known", extra={"topic": topic, "error": summary(error)})
        self._ends = {place: end for place, end in self._ends.items() if place[0] != topic} | found


#: How often it is looked up what the offsets were that a consumer passed over, seconds.
LOOK_SECONDS: Final = 2.0


class _Place(NamedTuple):
    topic: str
    partition: int


class Deleted:
    """Reports offsets of some input topics that are gone undecided, each once in the life of this worker.

    They are found when a partition is taken over, and when a consumer finds its place deleted and goes on behind.
    Control and aborted records are counted too: what stood at an offset that is gone can't be known. A broker that
    does not answer holds nothing up.
    """

    def __init__(self, lag: Lag, topics: tuple[str, ...]) -> None:
        self._lag = lag
        self._topics = topics
        self._passed: dict[_Place, list[Passed]] = {}
        #: Offsets below this one were reported.
        self._reported: dict[_Place, int] = {}
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask from now on what was passed over."""
        self._following = asyncio.create_task(self._follow(), name="deleted")

    async def close(self) -> None:
        """Ask no more."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following

    async def compare(self, committed: Mapping[int, Mapping[str, Committed]]) -> None:
        """Compare what the group has committed of each partition with what its topics still hold.

        Where nothing is committed, nothing that is gone was waited for.
        """
        for topic in self._topics:
            begins = await self._lag.begins(topic, set(committed))
            for number, begin in begins.items():
                reached = committed[number].get(topic)
                if reached is not None:
                    self._report(_Place(topic, number), reached.offset, begin)

    def passed(self, topic: str, partition: int, passed: Sequence[Passed]) -> None:
        """Keep what an inbox passed over; what it was is looked up a little later, off the path of decisions."""
        if passed:
            self._passed.setdefault(_Place(topic, partition), []).extend(passed)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for topic in self._topics:
                try:
                    await self._look(topic)
                except Exception as error:  # noqa: BLE001 - what only watches must not end
                    logger.warning(
                        "what was passed over of a topic is not known", extra={"topic": topic, "error": summary(error)}
                    )

    async def _look(self, topic: str) -> None:
        numbers = {place.partition for place in self._passed if place.topic == topic}
        if not numbers:
            return
        for number, begin in (await self._lag.begins(topic, numbers)).items():
            for first, end in self._passed.pop(_Place(topic, number)):
                self._report(_Place(topic, number), first, min(end, begin))

    def _report(self, place: _Place, first: int, end: int) -> None:
        first = max(first, self._reported.get(place, 0))
        if first >= end:
            return
        self._reported[place] = end
        metrics.DELETED_UNDECIDED.inc(end - first)
        logger.error(
            "records were deleted before they were decided: have their source send them again",
            extra={"topic": place.topic, "partition": place.partition, "first": first, "last": end - 1},
        )


#: 2000-01-01T00:00:00Z. What is older, or lies more than a day ahead, is a placeholder of its producer, not a time.
_EARLIEST_MS: Final = 946_684_800_000
_AHEAD_SECONDS: Final = 86_400


def plausible(timestamp_ms: float, now: float) -> bool:
    """Whether a record's timestamp is the time when it was sent: only such ones are measured. `now` in seconds."""
    return _EARLIEST_MS <= timestamp_ms <= (now + _AHEAD_SECONDS) * 1000


class Meter:
    """Shared by the partitions of a worker."""

    def __init__(self, book: Rulebook) -> None:
        self._consents = metrics.EVENTS.labels(book.consents)
        self._transfers = metrics.EVENTS.labels(book.transfers)
        self._replays = metrics.EVENTS.labels(book.replay)
        self._committed = metrics.TRANSACTIONS.labels("committed")
        self._partners = {"": NONE, **partner_labels(book.registry.partners)}
        self._decisions: dict[tuple[str, str], Counter] = {}
        for rule in (*get_args(RuleId), DEFINITIONS, OUTSIDE_RULES):
            metrics.RULE_ERRORS.labels(rule)  # there before it counts, as the metrics of observe.metrics are

    def committed(self, seconds: float) -> None:
        """One transaction has ended well."""
        self._committed.inc()
        metrics.TRANSACTION_SECONDS.observe(seconds)

    def round(
        self,
        work: Round,
        taken: RoundRecords,
        seconds: float,
    ) -> None:
        """One round is committed; folding, deciding and encoding took `seconds`."""
        consents, transfers, replays = (
            part.records if part else () for part in (taken.consents, taken.transfers, taken.replays)
        )
        records = len(consents) + len(transfers) + len(replays)
        if records:
            metrics.ROUND_RECORDS.observe(records)
            metrics.DECISION_SECONDS.observe(seconds / records)
        if consents:
            self._consents.inc(len(consents))
        if work.strays:
            metrics.STRAY_CONSENTS.inc(work.strays)
        if work.overflowed:
            metrics.HISTORY_OVERFLOWS.inc(work.overflowed)
        for partner, notices in work.notices.items():
            metrics.NOTICES.labels(self._partners.get(partner, UNKNOWN)).inc(notices)
        if work.unaddressed:
            metrics.NOTICES_UNADDRESSED.inc(work.unaddressed)
        if work.unreadable_consents:
            metrics.UNREADABLE_CONSENTS.inc(work.unreadable_consents)
        if work.withdrawn_at is not None and plausible(work.withdrawn_at, time.time()):
            metrics.WITHDRAWAL_SECONDS.observe(max(0.0, time.time() - work.withdrawn_at / 1000))
        if transfers:
            self._transfers.inc(len(transfers))
            self._latency([record.timestamp for record in transfers])
        if replays:
            self._replays.inc(len(replays))
            for outcome, times in work.replays.items():
                metrics.REPLAYS.labels(outcome).inc(times)
        for (partner, outcome), channels in work.outcomes.items():
            self._decision(partner, outcome).inc(channels)
        for reason, quarantined in work.quarantined.items():
            metrics.QUARANTINED.labels(reason).inc(quarantined)
        for rule, times in work.rule_errors.items():
            metrics.RULE_ERRORS.labels(rule).inc(times)

    def waited(self, seconds: float) -> None:
        """Transfers were decided that met the barrier `seconds` ago."""
        metrics.BARRIER_SECONDS.observe(seconds)

    def _latency(self, stamps: list[int]) -> None:
        now = time.time()
        stamps = [stamp for stamp in stamps if plausible(stamp, now)]
        if not stamps:
            return
        oldest, floor = min(stamps), (now - TIMELY_SECONDS) * 1000
        metrics.LATENCY_SECONDS.observe(max(0.0, now - oldest / 1000))
        metrics.TIMELY.inc(len(stamps) if oldest >= floor else sum(stamp >= floor for stamp in stamps))

    def _decision(self, partner: str, outcome: str) -> Counter:
        # By label, not by party id: ids outside the registry come from records, and would fill the cache.
        label = self._partners.get(partner, UNKNOWN)
        child = self._decisions.get((label, outcome))
        if child is None:
            child = self._decisions[label, outcome] = metrics.DECISIONS.labels(label, outcome)
        return child


logger = logging.getLogger(__name__)


#: Gauges of each partition; a partition that was given up must not leave a number behind.
_OF_PARTITIONS: Final = (
    metrics.BARRIER_WAITING,
    metrics.BARRIER_WAITING_SECONDS,
    metrics.CONSENT_POSITION,
    metrics.INBOX_RECORDS,
    metrics.LAG,
    metrics.OLDEST_WAITING_SECONDS,
    metrics.PROSPECTS,
    metrics.STOPPED,
)


class PartitionSnapshot(Struct, frozen=True, kw_only=True):
    """One partition as it is now."""

    number: int
    #: Consent events below this offset are applied.
    applied: int | None
    #: By input topic: the next offset that is not committed, None before the first; and fetched records that wait.
    positions: Mapping[str, int | None]
    inbox: Mapping[str, int]
    #: Transfers in front of the barrier, and since when (`time.monotonic`).
    waiting: int
    since: float | None
    #: Timestamp of the transfer that waits first, ms.
    oldest: int | None
    prospects: int


def set_gauges(partitions: Iterable[PartitionSnapshot], lag: Lag, *, ready: bool, stopped: Mapping[int, str]) -> None:
    """Set every gauge of the worker's partitions; `stopped`: the error by its name, by partition that can't go on."""
    for gauge in _OF_PARTITIONS:
        gauge.clear()
    assigned = 0
    for partition in partitions:
        assigned += 1
        _set_gauges(partition, lag)
    metrics.ASSIGNED.set(assigned)
    metrics.READY.set(ready)
    for number, error in stopped.items():
        metrics.STOPPED.labels(str(number), error).set(1)


def _set_gauges(partition: PartitionSnapshot, lag: Lag) -> None:
    label = str(partition.number)
    metrics.BARRIER_WAITING.labels(label).set(partition.waiting)
    waited = 0.0 if partition.since is None else time.monotonic() - partition.since
    metrics.BARRIER_WAITING_SECONDS.labels(label).set(waited)
    now = time.time()
    known = partition.oldest is not None and plausible(partition.oldest, now)
    age = max(0.0, now - partition.oldest / 1000) if known and partition.oldest is not None else 0.0
    metrics.OLDEST_WAITING_SECONDS.labels(label).set(age)
    metrics.PROSPECTS.labels(label).set(partition.prospects)
    if partition.applied is not None:
        metrics.CONSENT_POSITION.labels(label).set(partition.applied)
    for topic, records in partition.inbox.items():
        metrics.INBOX_RECORDS.labels(topic, label).set(records)
    for topic, position in partition.positions.items():
        behind = lag.behind(topic, partition.number, position)
        if behind is not None:
            metrics.LAG.labels(topic, label).set(behind)
