"""Find quarantined records: read the topic as far as a filter needs, partition by partition; which of them are open."""

import datetime as dt
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from transfer_gate.errors import InvalidInput, NothingMatched
from transfer_gate.kafka import ConsumerRecord, TopicPartition
from transfer_gate.kafka.reader import Offsets
from transfer_gate.kafka.session import Session
from transfer_gate.model.terms import Channel
from transfer_gate.records import headers as names
from transfer_gate.records.headers import Stage
from transfer_gate.records.ledger import (
    OPEN,
    LedgerEntry,
    LedgerIndex,
    LedgerStatus,
    RecordState,
    decode_entry,
    newest_of,
    state_of,
)
from transfer_gate.records.partitioner import Placements
from transfer_gate.records.quarantined import MalformedHeaders, Quarantined, decode_quarantined
from transfer_gate.records.sealing import owner_of

#: How far the clocks of workers (they stamp the ledger) and of brokers (they stamp quarantine) may be apart.
_CLOCKS: Final = dt.timedelta(hours=1)


async def starts_of(session: Session, ends: Mapping[int, int], since: dt.datetime | None) -> dict[int, int]:
    """By partition, the offset from which the ledger has every record that was quarantined from `since` on.

    An entry is written with its quarantine record or later, so older entries are about older records.
    """
    if since is None:
        return {}
    places = {
        TopicPartition(session.settings.topics.ledger, partition): partition for partition, end in ends.items() if end
    }
    if not places:
        return {}
    found = await session.reader.offsets_at(places, int((since - _CLOCKS).timestamp() * 1000))
    return {partition: found.get(place, ends[partition]) for place, partition in places.items()}


async def read_ledger(session: Session, partition: int, end: int, start: int = 0) -> LedgerIndex:
    """The ledger index of one partition of quarantine: the ledger partition of that number, from `start` to `end`."""
    index = LedgerIndex()
    if start < end:
        place = TopicPartition(session.settings.topics.ledger, partition)
        async for records in session.reader.records({place: end}, {place: start} if start else None):
            for record in records:
                if record.key is not None:
                    index.put(record.key, record.value)
    return index


class LedgerReader:
    """The ledger index of one partition of quarantine after the other, by the ledger from `starts` to `ends`.

    Once the topics have `grown`, the entries of a partition's records may be in any partition of the ledger: then it is
    read whole, once.
    """

    def __init__(self, session: Session, ends: Mapping[int, int], starts: Mapping[int, int], *, grown: bool) -> None:
        self._session = session
        self._ends = ends
        self._starts = starts
        self._grown = grown
        self._whole: LedgerIndex | None = None

    async def of(self, partition: int) -> LedgerIndex:
        """The ledger index of a partition. Raises BrokerUnavailable."""
        if not self._grown:
            return await self._read(partition)
        if self._whole is None:
            self._whole = LedgerIndex()
            for number in self._ends:
                self._whole.join(await self._read(number))
        return self._whole

    async def _read(self, partition: int) -> LedgerIndex:
        start, end = self._starts.get(partition, 0), self._ends.get(partition, 0)
        return await read_ledger(self._session, partition, end, start)


Ranges = Mapping[TopicPartition, tuple[int, int]]
"""First and end offset (exclusive) by partition."""

#: Ids that a filter is shown with; of more only their number.
_MOST_IDS: Final = 100


class Filter(Struct, frozen=True, kw_only=True):
    """Which quarantine records match; what is not given does not restrict. Times are aware; `until` is exclusive.

    `reason` is any reason of any channel. `prospect_id` is the record key.
    """

    partner_id: str | None = None
    reason: str | None = None
    stage: Stage | None = None
    channel: Channel | None = None
    prospect_id: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    ids: frozenset[str] = frozenset()
    open_only: bool = False

    def takes(self, key: bytes | None, held: Quarantined) -> bool:
        """Whether the record matches, by its key and headers; times and openness apart."""
        return (
            (self.partner_id is None or held.partner_id == self.partner_id)
            and (self.stage is None or held.stage == self.stage)
            and (self.channel is None or self.channel in held.channels)
            and (self.prospect_id is None or key == self.prospect_id.encode())
            and (not self.ids or held.quarantine_id in self.ids)
            and (self.reason is None or any(self.reason in reasons for reasons in held.reasons.values()))
        )


def filter_details(wanted: Filter) -> dict[str, Any]:
    """A filter as plans and audit events show it: that it names a prospect, not which; of many ids, their number."""
    given = {name: getattr(wanted, name) for name in Filter.__struct_fields__ if name not in ("ids", "open_only")}
    details: dict[str, Any] = msgspec.to_builtins({name: value for name, value in given.items() if value is not None})
    if wanted.prospect_id is not None:
        details["prospect_id"] = "one"
    if wanted.ids:
        details["ids"] = sorted(wanted.ids) if len(wanted.ids) <= _MOST_IDS else len(wanted.ids)
    return details


class Ledger(Protocol):
    """The replay ledger as a selection reads it: a dict of entries, or a `LedgerIndex`."""

    def get(self, quarantine_id: str, /) -> LedgerEntry | LedgerStatus | None:
        """The latest entry of this quarantine id; None when it has none."""


class Found(Struct, frozen=True, kw_only=True):
    """A quarantine record, and its state by the ledger."""

    record: ConsumerRecord[bytes | None, bytes | None]
    held: Quarantined
    state: RecordState


async def quarantine_ends(session: Session) -> Offsets:
    """End offsets of the quarantine topic now. Raises InvalidInput when there is no such topic."""
    partitions = await session.cluster.partitions(session.settings.topics.quarantine)
    _, ends = await session.reader.bounds(partitions, committed_only=True)
    return ends


async def read_entry(session: Session, ends: Mapping[int, int], quarantine_id: str) -> LedgerEntry | None:
    """The newest entry of a quarantine id in partitions of the ledger, up to these ends; None if it has none."""
    entries: dict[int, bytes | None] = {}
    left = {TopicPartition(session.settings.topics.ledger, partition): end for partition, end in ends.items() if end}
    async for records in session.reader.records(left):
        for record in records:
            if record.key == quarantine_id.encode():
                entries[record.partition] = record.value
    newest: bytes | None = None
    for entry in entries.values():
        newest = newest if entry is None else newest_of(newest, entry)
    return None if newest is None else decode_entry(newest)


async def ranges(session: Session, wanted: Filter, ends: Offsets, begins: Offsets | None = None) -> Ranges:
    """First and end offset of what has to be read of each partition; partitions that need no reading are left out.

    `begins`: the first offsets, where they are known already.
    """
    if wanted.since is not None:
        starts = await session.reader.offsets_at(ends, _ms(wanted.since))
    elif begins is not None:
        starts = dict(begins)
    else:
        topics = {place.topic: 1 + max(place.partition for place in ends) for place in ends}
        starts = dict((await session.reader.bounds(topics, committed_only=True))[0])
    if wanted.until is not None:
        stops = await session.reader.offsets_at(ends, _ms(wanted.until))
        ends = {place: min(end, stops.get(place, end)) for place, end in ends.items()}
    return {place: (starts[place], end) for place, end in ends.items() if place in starts and starts[place] < end}


async def found_between(
    session: Session,
    wanted: Filter,
    within: Ranges,
    ledger: Ledger,
    on_progress: Callable[[int], None] = lambda _: None,
) -> AsyncGenerator[list[Found], None]:
    """The records that match a filter in some ranges; `on_progress` gets how many more offsets were passed."""
    if not within:
        return
    ids = frozenset(quarantine_id.encode() for quarantine_id in wanted.ids)
    reached = {place: start for place, (start, _) in within.items()}
    read = session.reader.records({place: end for place, (_, end) in within.items()}, dict(reached))
    async with aclosing(read) as batches:  # else a caller that has found enough leaves a consumer behind
        async for records in batches:
            last = records[-1]
            place = TopicPartition(last.topic, last.partition)
            on_progress(last.offset + 1 - reached[place])
            reached[place] = last.offset + 1
            found = [match for record in records if (match := _found(record, wanted, ids, ledger)) is not None]
            if found:
                yield found
    on_progress(sum(end - reached[place] for place, (_, end) in within.items()))


def _found(record: ConsumerRecord, wanted: Filter, ids: Collection[bytes], ledger: Ledger) -> Found | None:
    # These two pass over most records, and reading all headers costs twenty times as much.
    if wanted.prospect_id is not None and record.key != wanted.prospect_id.encode():
        return None
    if ids and dict(record.headers).get(names.QUARANTINE_ID) not in ids:
        return None
    try:
        held = decode_quarantined(record.headers)
    except MalformedHeaders:
        return None
    if not wanted.takes(record.key, held):
        return None
    state = state_of(ledger.get(held.quarantine_id), held.attempt)
    return None if wanted.open_only and state != OPEN else Found(record=record, held=held, state=state)


def _ms(at: dt.datetime) -> int:
    return int(at.timestamp() * 1000)


class Destinations:
    """To which partition a quarantined record is sent: its own, before an installation has grown."""

    def __init__(self, placements: Placements) -> None:
        self.placements = placements

    @property
    def grown(self) -> bool:
        """Whether records may go to another partition than they stand in."""
        return self.placements.grown

    def of(self, record: ConsumerRecord) -> int:
        """The partition for a record of the quarantine topic."""
        own: int = record.partition
        if not self.grown:
            return own
        home = self.placements.now.home(record.key)
        if home is None or home == own or _sealed_by_day(record):
            return own  # keys of days stay where they were made
        return home


def _sealed_by_day(record: ConsumerRecord) -> bool:
    of_gate = {
        name: (text or b"").decode(errors="replace") for name, text in record.headers if name.startswith(names.PREFIX)
    }
    if names.ENCRYPTION not in of_gate:
        return False
    stage, at = of_gate.get(names.STAGE, ""), of_gate.get(names.QUARANTINED_AT, "")
    owner = owner_of(record.key, stage, of_gate.get(names.PARTNER), at, of_gate.get(names.REASON, ""))
    return bool(owner != record.key)


async def destinations_of(session: Session) -> Destinations:
    """By the topics and the group's commits now. Raises BrokerUnavailable."""
    found = (await session.cluster.topics()).get(session.settings.topics.replay)
    return Destinations(await session.cluster.placements(session.settings, found.partitions if found else None))


class Place(NamedTuple):
    """Position of a record of the quarantine topic; written `partition:offset`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


class View(Struct, frozen=True):
    """What a command reads of quarantine, fixed when it began: what is quarantined later is not in it.

    `ledger_starts` are 0 where not given. `to`: where the records are replayed.
    """

    ranges: Ranges
    ledger_ends: Mapping[int, int]
    ledger_starts: Mapping[int, int]
    to: Destinations

    @property
    def offsets(self) -> int:
        """How many offsets have to be passed."""
        return sum(end - start for start, end in self.ranges.values())


async def look(session: Session, wanted: Filter, *, after: Place | None = None, partition: int | None = None) -> View:
    """What has to be read to find what matches a filter, behind `after`, or in one partition alone.

    Raises InvalidInput when there is no such topic or partition, BrokerUnavailable.
    """
    topics = session.settings.topics
    partitions = await session.cluster.partitions(topics.quarantine, topics.ledger)
    count = partitions[topics.quarantine]
    for number in (partition, after.partition if after else None):
        if number is not None and number >= count:
            raise InvalidInput(f"no partition {number} of {topics.quarantine}", do=f"it has {count}, from 0")
    begins, ends = await session.reader.bounds(partitions, committed_only=True)
    within = {
        place: end
        for place, end in ends.items()
        if place.topic == topics.quarantine and partition in (None, place.partition)
    }
    ledger_ends = {place.partition: end for place, end in ends.items() if place.topic == topics.ledger}
    return View(
        ranges=_behind(await ranges(session, wanted, within, begins), after),
        ledger_ends=ledger_ends,
        ledger_starts=await starts_of(session, ledger_ends, wanted.since),
        to=Destinations(await session.cluster.placements(session.settings, count)),
    )


def _behind(within: Ranges, after: Place | None) -> Ranges:
    if after is None:
        return within
    left = {}
    for place, (start, end) in within.items():
        begin = max(start, after.offset + 1) if place.partition == after.partition else start
        if place.partition >= after.partition and begin < end:
            left[place] = (begin, end)
    return left


async def found_in(
    session: Session, wanted: Filter, view: View, on_progress: Callable[[int], None] = lambda _: None
) -> AsyncGenerator[Found, None]:
    """The records that match a filter, by (partition, offset). Raises BrokerUnavailable."""
    ledger = LedgerReader(session, view.ledger_ends, view.ledger_starts, grown=view.to.grown)
    for place in sorted(view.ranges):
        index = await ledger.of(place.partition)
        within = {place: view.ranges[place]}
        async with aclosing(found_between(session, wanted, within, index, on_progress)) as batches:
            async for found in batches:
                for record in found:
                    yield record


class Life(NamedTuple):
    """Everything about a quarantine id: its records, oldest first, and its entry of the ledger."""

    attempts: list[Found]
    entry: LedgerEntry | None


async def life_of(
    session: Session,
    quarantine_id: str,
    *,
    partition: int | None = None,
    offset: int = 0,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Life:
    """Read everything about a quarantine id.

    An id has no position: all partitions are read until one has it, then that one to its end. `partition` and
    `offset` (only with it): where to begin. Raises NothingMatched.
    """
    wanted = Filter(ids=frozenset({quarantine_id}))
    after = Place(partition, offset - 1) if partition is not None and offset > 0 else None
    view = await look(session, wanted, after=after, partition=partition)
    first = await _first(session, wanted, view, on_progress)
    if first is None:
        raise NothingMatched(
            f"no record {quarantine_id} in quarantine",
            do="look with `transfer-gate quarantine list`; quarantine forgets what is older than its retention",
        )
    place = TopicPartition(first.record.topic, first.record.partition)
    ends = {place.partition: view.ledger_ends.get(place.partition, 0)}
    rest = {place: (first.record.offset, view.ranges[place][1])}
    if view.to.grown:  # later attempts stand where its prospect is decided now
        ends, rest = dict(view.ledger_ends), {**view.ranges, **rest}
    entry = await read_entry(session, ends, quarantine_id)
    found = found_between(session, wanted, rest, {} if entry is None else {quarantine_id: entry})
    attempts = [attempt async for batch in found for attempt in batch]
    return Life(sorted(attempts, key=lambda attempt: attempt.held.attempt), entry)


async def _first(session: Session, wanted: Filter, view: View, on_progress: Callable[[int], None]) -> Found | None:
    async with aclosing(found_between(session, wanted, view.ranges, {}, on_progress)) as batches:
        async for found in batches:
            return found[0]
    return None
