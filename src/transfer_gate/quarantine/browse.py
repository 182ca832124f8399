"""Look through quarantine in one order, partition by partition: bounded memory, and a place to go on from."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import NamedTuple

from aiokafka import TopicPartition
from msgspec import Struct

from transfer_gate.admin.cluster import open_cluster
from transfer_gate.admin.reading import bounds
from transfer_gate.errors import InvalidInput, NothingMatched
from transfer_gate.quarantine.selection import Filter, Found, Ranges, found_between, ranges
from transfer_gate.quarantine.standings import read_standings
from transfer_gate.settings import Settings
from transfer_gate.stream.clients import broker_errors


class Place(NamedTuple):
    """Where a record of the quarantine topic stands; written `partition:offset`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


class View(Struct, frozen=True):
    """What one look at quarantine reads, fixed when it began: what is held later is not in it."""

    ranges: Ranges
    ledger_ends: Mapping[int, int]

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
        _, ends = await bounds(settings, {topics.quarantine: count}, committed_only=True)
        ledger = {topics.ledger: found[topics.ledger].partitions} if topics.ledger in found else {}
        _, ledger_ends = await bounds(settings, ledger, committed_only=True)
        within = await ranges(settings, wanted, ends) if ends else {}
    return View(
        {place: span for place, span in _behind(within, after).items() if partition in (None, place.partition)},
        {place.partition: end for place, end in ledger_ends.items()},
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
    settings: Settings, wanted: Filter, view: View, seen: Callable[[int], None] = lambda _: None
) -> AsyncGenerator[Found, None]:
    """The records that a filter means, by (partition, offset). Raises BrokerUnavailable."""
    async with broker_errors(settings):
        for place in sorted(view.ranges):
            standings = await read_standings(settings, place.partition, view.ledger_ends.get(place.partition, 0))
            within = {place: view.ranges[place]}
            async with aclosing(found_between(settings, wanted, within, standings, seen)) as batches:
                async for found in batches:
                    for one in found:
                        yield one


async def attempts_of(
    settings: Settings,
    quarantine_id: str,
    *,
    partition: int | None = None,
    offset: int = 0,
    seen: Callable[[int], None] = lambda _: None,
) -> list[Found]:
    """Every quarantine record of an id that is still kept, oldest first.

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
    rest = View({place: (first.record.offset, view.ranges[place][1])}, view.ledger_ends)
    return [one async for one in found_in(settings, wanted, rest)]


async def _first(settings: Settings, wanted: Filter, view: View, seen: Callable[[int], None]) -> Found | None:
    async with broker_errors(settings), aclosing(found_between(settings, wanted, view.ranges, {}, seen)) as batches:
        async for found in batches:
            return found[0]
    return None
