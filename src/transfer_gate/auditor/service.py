"""The auditor as a process of its own that follows the gate: passes over all partitions, metrics, health, an orderly
end; or one pass that ends.
"""

import asyncio
import contextlib
import datetime as dt
import logging
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from msgspec import Struct

from transfer_gate.auditor.consent_history import Astray, History
from transfer_gate.auditor.judge import OUTCOMES, Judge, Outcome, Verdict
from transfer_gate.auditor.open_work import OldestOpen, OpenRuns
from transfer_gate.auditor.partition import Ends, PartitionAudit, Readers
from transfer_gate.errors import BrokerUnavailable, InvalidInput
from transfer_gate.gate.integrity.identity import TopicLives, lives_of
from transfer_gate.gate.table import MemorySlice, Slice
from transfer_gate.kafka import ConsumerRecord, TopicPartition
from transfer_gate.kafka import reader as kafka
from transfer_gate.kafka.access import broker_errors
from transfer_gate.kafka.cluster import FoundTopic
from transfer_gate.kafka.reader import Offsets
from transfer_gate.kafka.session import Session, open_session
from transfer_gate.kafka.spans import Lookup, SpanReader
from transfer_gate.model.registry import Registry
from transfer_gate.observe import metrics
from transfer_gate.observe.health import serve_health
from transfer_gate.observe.metrics import AUDIT_RECORDS, AUDITOR
from transfer_gate.records.partitioner import Placements
from transfer_gate.settings import Settings

logger = logging.getLogger(__name__)

#: Between passes while following, seconds.
PAUSE: Final = 1.0
#: Before the next try when the cluster did not answer, seconds.
RETRY: Final = 5.0
#: Between two looks at what is open in quarantine and which replays run, seconds.
LOOK: Final = 30.0

#: Findings that are listed one by one; the rest is only counted.
MOST_TOLD: Final = 50


class Finding(Struct, frozen=True, kw_only=True):
    """A released record that is not `ok`, by its place."""

    topic: str
    partition: int
    offset: int
    outcome: Outcome
    why: str


class Tally:
    """Counts of one audit.

    `too_close`: released records against which an event was appended just before the decision, within the margin in
    which it is unknown whether it was acknowledged by then. `without_record`: decisions to release whose record is
    no longer on the partner's topic.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.findings: list[Finding] = []
        self.too_close = 0
        self.without_record = 0

    def add(self, topic: str, partition: int, offset: int, verdict: Verdict) -> Finding | None:
        """Count one released record; returns the finding, if there is one."""
        self.outcomes[verdict.outcome] += 1
        if verdict.outcome == "ok":
            return None
        finding = Finding(topic=topic, partition=partition, offset=offset, outcome=verdict.outcome, why=verdict.why)
        if len(self.findings) < MOST_TOLD:
            self.findings.append(finding)
        return finding

    @property
    def holds(self) -> bool:
        """Whether every record that could be checked is explained, and none leaked."""
        return not (self.outcomes["leak"] or self.outcomes["unexplained"])

    def as_counts(self) -> dict[str, int]:
        """What `audit --json` prints."""
        return {
            "records": self.outcomes.total(),
            **{outcome: self.outcomes[outcome] for outcome in OUTCOMES},
            "too-close": self.too_close,
            "without-record": self.without_record,
        }


_OnFinding = Callable[[Finding], None]


class Auditor:
    """Checks every released record once. Nothing is written anywhere; it starts over when it is started again."""

    def __init__(
        self, settings: Settings, registries: Sequence[Registry], *, margin: dt.timedelta, on_finding: _OnFinding
    ) -> None:
        """`margin`: events that the broker appended less than this before a decision may not have been acknowledged by
        then. `on_finding` gets every finding.
        """
        self.tally = Tally()
        #: Whether the first pass has reached what stood there when it began.
        self.caught_up = False
        self._settings = settings
        self._registries = registries
        self._margin = margin
        self._on_finding = on_finding
        self._parts: dict[int, PartitionAudit] = {}
        self._partners: dict[str, str] = {}
        self._quarantine = OldestOpen()
        self._runs = OpenRuns()
        self._astray = Astray(settings.topics.strays)
        self._unidentified = frozenset(word for registry in registries for word in registry.policy.nobody)

    def close(self) -> None:
        """Release files; nothing is audited afterwards."""
        for part in self._parts.values():
            part.close()
        self._parts.clear()

    async def once(self) -> Tally:
        """Everything that is released as of now. Raises InvalidInput without the topics, BrokerUnavailable."""
        try:
            async with self._readers() as readers:
                await self._pass(readers, final=True)
        finally:
            self.close()
        return self.tally

    async def follow(self) -> None:
        """Pass after pass until cancelled; waits for as long as the cluster is away. Raises InvalidInput."""
        looked = -LOOK
        while True:
            try:
                async with self._readers() as readers:
                    while True:
                        await self._pass(readers, final=False)
                        self.caught_up = True
                        if time.monotonic() >= looked + LOOK:
                            looked = time.monotonic()
                            await self._look_at_quarantine(readers.session)
                        await asyncio.sleep(PAUSE)
            except BrokerUnavailable as error:
                logger.warning("audit waits: %s", error.message)
                await asyncio.sleep(RETRY)

    async def _look_at_quarantine(self, session: Session) -> None:
        since = await self._quarantine.since_ms(session)
        age = max(0.0, time.time() - since / 1000) if since is not None else 0.0
        metrics.QUARANTINE_OLDEST_OPEN_SECONDS.set(age)
        metrics.REPLAY_OPEN_RUNS.set(await self._runs.count(session))

    @asynccontextmanager
    async def _readers(self) -> AsyncIterator[Readers]:
        logs = SpanReader(self._settings)
        transfers, replayed = Lookup(self._settings), Lookup(self._settings)
        async with open_session(self._settings) as session, broker_errors(session.options):
            try:
                for reader in (logs, transfers, replayed):
                    await reader.start()
                yield Readers(session, logs, transfers, replayed)
            finally:
                for reader in (logs, transfers, replayed):
                    await reader.stop()

    async def _pass(self, readers: Readers, *, final: bool) -> None:
        settings, topics = self._settings, self._settings.topics
        cluster, reader = readers.session.cluster, readers.session.reader
        found = await cluster.topics()
        count = _shared_count(found, (topics.decisions, topics.consents, topics.transfers))
        placements = await cluster.placements(settings, count)
        lives = await lives_of(cluster, settings)
        # In place: every partition and the judge look at the same mapping, and partners come while it follows.
        self._partners.update(self._partner_topics(found))
        partners = self._partners
        present = {topic: found[topic].partitions for topic in partners.values() if topic in found}
        ours = {topics.decisions: count}
        # The order matters: see Ends. A released record is committed together with its decision.
        begins, settled = await reader.bounds(ours, committed_only=True)
        partner_begins, partner_ends = await reader.bounds(present, committed_only=False)
        _, decided = await reader.bounds(ours, committed_only=False)
        inputs = {topics.consents: count, topics.transfers: count}
        input_begins, input_ends = await reader.bounds(inputs, committed_only=True)
        await self._read_astray(reader, found, input_begins, input_ends, placements)
        transfers = {
            number: _span(TopicPartition(topics.transfers, number), input_begins, input_ends) for number in range(count)
        }
        for number in range(count):
            decisions = TopicPartition(topics.decisions, number)
            part = self._part(number, partners, {**begins, **partner_begins}, input_begins, lives)
            ends = Ends(
                settled=settled[decisions],
                partners={place.topic: end for place, end in partner_ends.items() if place.partition == number},
                decisions=decided[decisions],
                consents=input_ends[TopicPartition(topics.consents, number)],
                transfers=transfers,
                grown=placements.grown,
            )
            try:
                await part.advance(ends, readers, final=final)
            finally:
                for place, position in part.positions.items():
                    metrics.AUDIT_POSITION.labels(place.topic, str(place.partition)).set(position)
        self.tally.without_record = sum(part.without_record for part in self._parts.values())

    async def _read_astray(
        self,
        reader: kafka.Reader,
        found: Mapping[str, FoundTopic],
        begins: Offsets,
        ends: Offsets,
        placements: Placements,
    ) -> None:
        """Events of every partition that stand outside that of their key; read after the decisions' ends were fixed."""
        topics = self._settings.topics
        consents = {place for place in ends if place.topic == topics.consents}
        brought = {topics.strays: found[topics.strays].partitions} if topics.strays in found else {}
        stray_begins, stray_ends = await reader.bounds(brought, committed_only=True)
        await self._astray.read(
            reader,
            {**{place: begins[place] for place in consents}, **stray_begins},
            {**{place: ends[place] for place in consents}, **stray_ends},
            placements,
        )

    def _part(
        self, number: int, partners: Mapping[str, str], begins: Offsets, input_begins: Offsets, lives: TopicLives
    ) -> PartitionAudit:
        mine = {place: offset for place, offset in begins.items() if place.partition == number}
        part = self._parts.get(number)
        topics = self._settings.topics
        consents = TopicPartition(topics.consents, number)
        own = lives.own(topics.consents, number)
        if part is not None:
            part.positions = {**mine, **part.positions}  # topics that are new since the last pass
            part.lives = lives
            part.made_anew(own, input_begins[consents])
            return part
        registries = {registry.revision: registry for registry in self._registries}
        part = self._parts[number] = PartitionAudit(
            number,
            Judge(topics, registries, partners),
            History(
                self._slice(number),
                consents,
                input_begins[consents],
                self._settings.bounds,
                own,
                unidentified=self._unidentified,
            ),
            mine,
            decisions=topics.decisions,
            transfers=topics.transfers,
            partner_topics=partners,
            margin=self._margin,
            report=self._report,
            astray=self._astray,
            lives=lives,
        )
        return part

    def _slice(self, number: int) -> Slice:
        if self._settings.store == "memory://":
            return MemorySlice()
        try:
            from transfer_gate.gate.rocksdb import RocksSlice
        except ImportError:
            raise InvalidInput(
                "the store rocksdb:// needs the library rocksdict", do="pip install 'transfer-gate[rocksdb]'"
            ) from None
        return RocksSlice(self._settings.data_dir / "audit" / self._settings.topics.consents / str(number))

    def _partner_topics(self, found: Mapping[str, FoundTopic]) -> dict[str, str]:
        """Party id to topic: partners of every registry, and former ones whose topic still has the default name."""
        topics = self._settings.topics
        known: dict[str, str] = {}
        for registry in self._registries:
            known = {**topics.partners(registry), **known}
        prefix, taken = f"{topics.prefix}partner.", set(known.values())
        former = {name.removeprefix(prefix): name for name in found if name.startswith(prefix) and name not in taken}
        return {**former, **known}

    def _report(self, record: ConsumerRecord, verdict: Verdict, too_close: bool) -> None:
        metrics.AUDIT_RECORDS.labels(verdict.outcome).inc()
        if verdict.outcome == "leak":
            metrics.LEAKS.inc()
        self.tally.too_close += too_close
        finding = self.tally.add(record.topic, record.partition, record.offset, verdict)
        if finding is not None:
            self._on_finding(finding)


def _shared_count(found: Mapping[str, FoundTopic], needed: Sequence[str]) -> int:
    missing = [name for name in needed if name not in found]
    if missing:
        raise InvalidInput(f"missing topics: {', '.join(missing)}", do="run: transfer-gate topics apply")
    return min(found[name].partitions for name in needed)


def _span(place: TopicPartition, begins: Offsets, ends: Offsets) -> tuple[int, int]:
    return begins[place], ends[place]


async def run_auditor(settings: Settings, auditor: Auditor) -> None:
    """Follow until SIGTERM or SIGINT. `/readyz` is 200 once everything that stood there at the start is checked.

    Raises InvalidInput when the metrics port is taken or topics are missing.
    """
    for outcome in OUTCOMES:
        AUDIT_RECORDS.labels(outcome)  # a counter that must stay 0 has to be there to be watched
    health = serve_health(settings.metrics_host, settings.metrics_port, lambda: auditor.caught_up, registry=AUDITOR)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    following = asyncio.create_task(auditor.follow())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        auditor.close()
        await health.close()
    logger.info("auditor stopped: %s", auditor.tally.as_counts())


def log_finding(finding: Finding) -> None:
    """One line for each record that is not explained; ids and places only."""
    level = logging.ERROR if finding.outcome in {"leak", "unexplained"} else logging.WARNING
    logger.log(
        level, "%s: %s/%d@%d: %s", finding.outcome, finding.topic, finding.partition, finding.offset, finding.why
    )
