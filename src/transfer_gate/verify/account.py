"""Prove promise 2 from the outside: read what went in and what came out, join them, count (contract section 7)."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from transfer_gate.errors import InvalidInput
from transfer_gate.gate.integrity.identity import lives_of
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.cluster import Cluster, FoundTopic
from transfer_gate.kafka.reader import Offsets
from transfer_gate.kafka.session import Session, open_session
from transfer_gate.kafka.sizes import measured, unheld
from transfer_gate.model.registry import Registry
from transfer_gate.model.state import SealingKey
from transfer_gate.records import headers as names
from transfer_gate.records.headers import PREFIX, SOURCE_TOPIC, Headers
from transfer_gate.records.partitioner import UNGROWN, Placements, TopicPlacements
from transfer_gate.records.quarantined import Opener, decode_quarantined
from transfer_gate.records.sealing import MasterKeys, SealError, is_key_of_day, load_master_keys
from transfer_gate.settings import Settings
from transfer_gate.verify.chains import ReplayLedger
from transfer_gate.verify.inputs import Inputs, UnreadableConsents
from transfer_gate.verify.outcomes import Outcomes


class _KeyOfState(Struct):
    """The part of a prospect's state that opens its payloads."""

    sealing_key: SealingKey | None = None


_STATE = msgspec.json.Decoder(_KeyOfState)
_KEY = msgspec.json.Decoder(SealingKey)


class Payloads:
    """Opens the payloads of one partition at a time: its keys are held, wrapped, some 300 bytes a prospect."""

    def __init__(self, session: Session, placements: Placements = UNGROWN, partitions: int = 0) -> None:
        """`placements`, `partitions`: of the changelog. Where the topics have grown, the keys of a partition's records
        may lie in other partitions, and those of all prospects are held. Raises InvalidInput when the key file is none.
        """
        self._session = session
        self._placements = placements
        self._partitions = partitions
        file = session.settings.quarantine_key_file
        self._masters: MasterKeys | None = load_master_keys(file) if file is not None else None
        self._keys: dict[int, bytes] = {}
        self._opener = Opener(self._key_of, self._masters)
        #: Sealed payloads that could not be opened.
        self.unopened = 0

    @property
    def has_masters(self) -> bool:
        """Whether anything can be opened at all."""
        return self._masters is not None

    async def load(self, partition: int) -> None:
        """Read the keys of a partition from the consent changelog, as of now."""
        self._keys = {}
        changelog = self._session.settings.topics.changelog
        grown, now = self._placements.grown, self._placements.now
        count = self._partitions if grown else partition + 1
        _, ends = await self._session.reader.bounds({changelog: count}, committed_only=False)
        wanted: Offsets = {place: end for place, end in ends.items() if grown or place.partition == partition}
        async for records in self._session.reader.records(wanted):
            for record in records:
                foreign = record.partition != partition
                if grown and (
                    foreign if is_key_of_day(record.key or b"") else now.misplaced(record.key, record.partition)
                ):
                    continue  # of another partition's day, or left behind
                key = _STATE.decode(record.value).sealing_key if record.value is not None else None
                if key is None:
                    self._keys.pop(hash(record.key), None)
                else:
                    self._keys[hash(record.key)] = msgspec.json.encode(key)

    def open(self, key: bytes | None, value: bytes | None, sent: Headers) -> tuple[bytes | None, bool]:
        """The payload of a quarantine record, and whether that is what it is: False when it could not be opened."""
        if value is None or not any(name == names.ENCRYPTION for name, _ in sent):
            return value, True
        try:
            return self._opener.open(decode_quarantined(sent), key, value), True
        except (SealError, ValueError):
            self.unopened += 1
            return value, False

    def _key_of(self, owner: bytes) -> SealingKey | None:
        packed = self._keys.get(hash(owner))
        return _KEY.decode(packed) if packed is not None else None


_POLL_SECONDS: Final = 0.2


class Counts(Struct, frozen=True, kw_only=True):
    """What `verify --json` prints; all but `inputs` count (input record, partner, channel)."""

    inputs: int
    expected: int
    released: int
    quarantined: int
    missing: int
    duplicated: int
    misrouted: int

    @property
    def holds(self) -> bool:
        """Whether the promise was kept."""
        return not (self.missing or self.duplicated or self.misrouted)


class HeldNow(Struct, frozen=True, kw_only=True):
    """Where the channels are now that were quarantined at first: still held, released by a replay, discarded; or just
    being decided again while this was counted."""

    open: int
    replayed: int
    discarded: int
    moving: int


class Account(Struct, frozen=True, kw_only=True):
    """Counts, and what was left out of them.

    `undecided`: input records that the gate had not come to, though they were waited for. `unopened`: encrypted
    payloads that could not be compared with their source. `outside`: outcomes of records that retention deleted or that
    came after the start of this run. `shortened`: output topics whose oldest records are gone, so that outcomes may
    seem missing.
    """

    counts: Counts
    held: HeldNow
    undecided: int
    unopened: int
    outside: int
    shortened: tuple[str, ...]


async def verify(
    settings: Settings,
    registry: Registry,
    *,
    wait_seconds: float = 30.0,
    decided_only: bool = False,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Account:
    """Account for every committed record of `prospect-transfers` that stands there when this begins.

    Waits up to `wait_seconds` for a running gate to come to the end of them; with `decided_only` just those count that
    the gate had decided when this began. `on_progress` gets lines on what goes on. Raises InvalidInput when a topic is
    missing, BrokerUnavailable.
    """
    topics = settings.topics
    async with open_session(settings) as session:
        cluster, reader = session.cluster, session.reader
        found = await cluster.topics()
        partners = _partner_topics(settings, registry, found)
        needed = (topics.transfers, topics.consents, topics.quarantine, topics.decisions)
        counts = _partition_counts(found, needed)
        begins, ends = await reader.bounds({name: counts[name] for name in needed[:2]}, committed_only=True)
        if decided_only:
            committed = await cluster.committed(settings.app_id)
            ends = {place: min(end, max(committed.get(place, 0), begins[place])) for place, end in ends.items()}
        placements = await cluster.placements(settings, counts[topics.transfers])
        unidentified = registry.policy.nobody
        of_transfers, of_consents = (TopicPlacements(placements, topic) for topic in needed[:2])
        inputs = Inputs(_ranges(begins, ends, topics.transfers), of_transfers, unidentified)
        consents = UnreadableConsents(_ranges(begins, ends, topics.consents), of_consents, unidentified)
        last = await _read_inputs(session, ends, inputs, consents, on_progress)
        undecided = await _caught_up(cluster, settings.app_id, last, wait_seconds, on_progress)
        # The ledger first: whatever it is about is then committed, and stands below the ends of the other topics.
        ledger = ReplayLedger()
        ledgers = {topics.ledger: found[topics.ledger].partitions} if topics.ledger in found else {}
        _, moment = await reader.bounds(ledgers, committed_only=False)
        async for records in reader.records(moment):
            for record in records:
                ledger.add(record)
        # The high watermark: what the gate committed last may still stand behind the first open transaction of a
        # reader's view for the moment that its markers need.
        outputs = {name: counts[name] for name in needed[2:]}
        outputs |= {name: found[name].partitions for name in partners.values() if name in found}
        starts, stops = await reader.bounds(outputs, committed_only=False)
        lives = await lives_of(cluster, settings)  # by now a gate that has met a topic made anew has noted it
        consents.of_topic(topics.consents, lives)
        outcomes = Outcomes(inputs, topics.transfers, partners, topics.replay, lives, grown=placements.grown)
        payloads = Payloads(session, placements, counts[topics.quarantine])
        await read_outcomes(session, stops, outcomes, consents, payloads, partners.values(), on_progress)
        _, now = await reader.bounds(ledgers, committed_only=False)
        async for records in reader.records(now, moment):
            for record in records:
                ledger.add_change(record)
        outcomes.close_chains(ledger)
    chains = outcomes.chains
    return Account(
        counts=Counts(
            inputs=inputs.count(),
            expected=inputs.expected(),
            released=outcomes.released,
            quarantined=outcomes.quarantined,
            missing=outcomes.missing() + consents.missing() + chains.missing,
            duplicated=outcomes.duplicated + consents.duplicated + chains.duplicated,
            misrouted=outcomes.misrouted + consents.misrouted + chains.misrouted,
        ),
        held=HeldNow(open=chains.open, replayed=chains.replayed, discarded=chains.discarded, moving=chains.moving),
        undecided=undecided,
        unopened=payloads.unopened,
        outside=outcomes.outside + consents.outside,
        shortened=tuple(dict.fromkeys(place.topic for place, start in starts.items() if start > 0)),
    )


def _partner_topics(settings: Settings, registry: Registry, found: Mapping[str, FoundTopic]) -> dict[str, str]:
    """Party id to topic: partners of the registry, and former ones whose topic still exists under the default name."""
    prefix = settings.topics.prefix + "partner."
    known = dict(settings.topics.partners(registry))
    taken = set(known.values())
    former = {name.removeprefix(prefix): name for name in found if name.startswith(prefix) and name not in taken}
    return former | known


def _partition_counts(found: Mapping[str, FoundTopic], needed: Iterable[str]) -> dict[str, int]:
    missing = [name for name in needed if name not in found]
    if missing:
        raise InvalidInput(f"missing topics: {', '.join(missing)}", do="run: transfer-gate topics apply")
    return {name: found[name].partitions for name in needed}


def _ranges(begins: Offsets, ends: Offsets, topic: str) -> dict[int, range]:
    return {place.partition: range(begins[place], ends[place]) for place in ends if place.topic == topic}


async def _read_inputs(
    session: Session, ends: Offsets, inputs: Inputs, consents: UnreadableConsents, on_progress: Callable[[str], None]
) -> dict[TopicPartition, int]:
    """Read both input topics; returns the offset of the last record of every partition that has any."""
    topics = session.settings.topics
    last: dict[TopicPartition, int] = {}
    for topic, add in ((topics.transfers, inputs.add), (topics.consents, consents.add)):
        count = 0
        async for records in session.reader.records(of_topics(ends, topic)):
            for record in records:
                why = unheld(record)
                reference = None if why is None else (why, *measured(record))
                add(record.partition, record.offset, record.key, record.value, record.headers, reference)
            last[TopicPartition(topic, records[-1].partition)] = records[-1].offset
            count += len(records)
        on_progress(f"read {count:,} records of {topic}")
    return last


async def _caught_up(
    cluster: Cluster,
    group: str,
    last: Mapping[TopicPartition, int],
    wait_seconds: float,
    on_progress: Callable[[str], None],
) -> int:
    """Wait until the gate has committed past every input record, as long as a worker runs.

    Returns how many offsets of the transfers it lacks at the end (records and markers of upstream transactions).
    """
    deadline = time.monotonic() + wait_seconds
    logged = False
    while True:
        committed = await cluster.committed(group)
        behind = sum(max(offset + 1 - committed.get(place, 0), 0) for place, offset in last.items())
        if not behind or time.monotonic() >= deadline or not await cluster.group_members(group):
            return behind
        if not logged:
            on_progress(f"waiting for the gate to decide what is there, up to {wait_seconds:.0f} s")
            logged = True
        await asyncio.sleep(_POLL_SECONDS)


async def read_outcomes(
    session: Session,
    stops: Offsets,
    outcomes: Outcomes,
    consents: UnreadableConsents,
    payloads: Payloads,
    partner_topics: Iterable[str],
    on_progress: Callable[[str], None],
) -> None:
    """Take in everything up to `stops`, in the order that `Outcomes` needs."""
    topics = session.settings.topics
    await _read_quarantine(session, of_topics(stops, topics.quarantine), outcomes, consents, payloads, on_progress)
    async for records in session.reader.records(of_topics(stops, topics.decisions)):
        for record in records:
            outcomes.decision(record.value)
    count = 0
    async for records in session.reader.records(of_topics(stops, *partner_topics)):
        for record in records:
            outcomes.release(record.topic, record.key, record.value)
        count += len(records)
    on_progress(f"read {count:,} records of the partners' topics")
    outcomes.join_by_event()


async def _read_quarantine(
    session: Session,
    stops: Offsets,
    outcomes: Outcomes,
    consents: UnreadableConsents,
    payloads: Payloads,
    on_progress: Callable[[str], None],
) -> None:
    consent_topic = session.settings.topics.consents.encode()
    # With keys, one partition after the other: then only the keys of one are in memory.
    runs = [{place: stop} for place, stop in stops.items()] if payloads.has_masters else [dict(stops)]
    count = 0
    for run in runs:
        if payloads.has_masters:
            await payloads.load(*(place.partition for place in run))
        async for records in session.reader.records(run):
            for record in records:
                own = {name: text or b"" for name, text in record.headers if name.startswith(PREFIX)}
                value, opened = payloads.open(record.key, record.value, record.headers)
                take = consents.copy if own.get(SOURCE_TOPIC) == consent_topic else outcomes.quarantine
                take(record.key, value, record.headers, opened=opened)
            count += len(records)
    on_progress(f"read {count:,} records of {session.settings.topics.quarantine}")


def of_topics(ends: Offsets, *topics: str) -> Offsets:
    """The offsets of some topics."""
    return {place: end for place, end in ends.items() if place.topic in topics}
