"""Look through quarantine in one order, partition by partition: bounded memory, and a place to go on from."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import NamedTuple

from aiokafka import TopicPartition
from msgspec import Struct

from transfer_gate.errors import InvalidInput, NothingMatched
from transfer_gate.kafka.clients import broker_errors
from transfer_gate.kafka.cluster import open_cluster
from transfer_gate.kafka.reader import bounds
from transfer_gate.quarantine.destination import Destinations
from transfer_gate.quarantine.ledger_index import StandingsOf, starts_of
from transfer_gate.quarantine.selection import Filter, Found, Ranges, found_between, ranges, read_entry
from transfer_gate.records.ledger import LedgerEntry
from transfer_gate.settings import Settings


class Place(NamedTuple):
    """Where a record of the quarantine topic stands; written `partition:offset`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


class View(Struct, frozen=True):
    """What one look at quarantine reads, fixed when it began: what is held later is not in it.

    `ledger_starts` are 0 where they are not named. `to`: where the records are replayed.
    """

    ranges: Ranges
    ledger_ends: Mapping[int, int]
    ledger_starts: Mapping[int, int]
    to: Destinations

    @property
    def offsets(self) -> int:
        """How many offsets have to be passed."""
        return sum(end - start for start, end in self.ranges.values())


async def look(settings: Settings, wanted: Filter, *, after: Place | None = None, partition: int | None = None) -> View:
    """What has to be read to find what a filter means, behind `after`, or in one partition alone.

    Raises InvalidInput when there is no such topic or partition, BrokerUnavailable.
    """
    topics = settings.topics
    async with open_cluster(settings) as cluster, broker_errors(settings):
        found = await cluster.topics()
        if topics.quarantine not in found:
            raise InvalidInput(f"no topic {topics.quarantine} on this cluster", do="run: transfer-gate topics apply")
        count = found[topics.quarantine].partitions
        for number in (partition, after.partition if after else None):
            if number is not None and number >= count:
                raise InvalidInput(f"no partition {number} of {topics.quarantine}", do=f"it has {count}, from 0")
        ours = {name: found[name].partitions for name in (topics.quarantine, topics.ledger) if name in found}
        begins, ends = await bounds(settings, ours, committed_only=True)
        held = {
            place: end
            for place, end in ends.items()
            if place.topic == topics.quarantine and partition in (None, place.partition)
        }
        within = await ranges(settings, wanted, held, begins)
        told = {place.partition: end for place, end in ends.items() if place.topic == topics.ledger}
        starts = await starts_of(settings, told, wanted.since)
        to = Destinations(await cluster.placements(settings, count))
    return View(_behind(within, after), told, starts, to)


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
    settings: Settings, wanted: Filter, view: View, seen: Callable[[int], None] = lambda _: None
) -> AsyncGenerator[Found, None]:
    """The records that a filter means, by (partition, offset). Raises BrokerUnavailable."""
    async with broker_errors(settings):
        ledger = StandingsOf(settings, view.ledger_ends, view.ledger_starts, grown=view.to.grown)
        for place in sorted(view.ranges):
            standings = await ledger.of(place.partition)
            within = {place: view.ranges[place]}
            async with aclosing(found_between(settings, wanted, within, standings, seen)) as batches:
                async for found in batches:
                    for one in found:
                        yield one


class Life(NamedTuple):
    """All that is kept of one quarantine id: its records, oldest first, and what the ledger says."""

    attempts: list[Found]
    entry: LedgerEntry | None


async def life_of(
    settings: Settings,
    quarantine_id: str,
    *,
    partition: int | None = None,
    offset: int = 0,
    seen: Callable[[int], None] = lambda _: None,
) -> Life:
    """Everything about a quarantine id.

    An id tells no place: all partitions are read until one has it, then that one to its end. `partition` and
    `offset` (only with it) say where to begin. Raises NothingMatched.
    """
    wanted = Filter(ids=frozenset({quarantine_id}))
    after = Place(partition, offset - 1) if partition is not None and offset > 0 else None
    view = await look(settings, wanted, after=after, partition=partition)
    first = await _first(settings, wanted, view, seen)
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
    entry = await read_entry(settings, ends, quarantine_id)
    async with broker_errors(settings):
        found = found_between(settings, wanted, rest, {} if entry is None else {quarantine_id: entry})
        attempts = [one async for batch in found for one in batch]
        return Life(sorted(attempts, key=lambda one: one.held.attempt), entry)


async def _first(settings: Settings, wanted: Filter, view: View, seen: Callable[[int], None]) -> Found | None:
    async with broker_errors(settings), aclosing(found_between(settings, wanted, view.ranges, {}, seen)) as batches:
        async for found in batches:
            return found[0]
    return None
