"""Make a plan: freeze the open records that a filter means, and re-decide each without sending it."""

import uuid
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec
from msgspec.structs import replace

from transfer_gate.admin.reading import Offsets, bounds
from transfer_gate.errors import NothingMatched
from transfer_gate.model.registry import Registry
from transfer_gate.quarantine.audit import operator
from transfer_gate.quarantine.destination import destinations_of
from transfer_gate.quarantine.follow import replay_partitions
from transfer_gate.quarantine.forecast import Forecaster, moves_of
from transfer_gate.quarantine.frozen import FrozenRecords
from transfer_gate.quarantine.known import now
from transfer_gate.quarantine.payloads import master_keys
from transfer_gate.quarantine.plan import Item, Plan, fingerprint_of
from transfer_gate.quarantine.results import Result
from transfer_gate.quarantine.selection import Filter, Found, filter_details, quarantine_ends, select
from transfer_gate.quarantine.standings import StandingsOf, starts_of
from transfer_gate.quarantine.states import packed_states_of
from transfer_gate.settings import Settings
from transfer_gate.stream.clients import broker_errors
from transfer_gate.stream.originals import originals_of
from transfer_gate.stream.rulebook import Rulebook
from transfer_gate.wire.sealing import UNSEALED, Sealing, owner_of

#: States that are held in memory at a time: partitions are taken together up to so many prospects.
_STATES: Final = 20_000


class _Selection:
    """The frozen records: items in the order of the topic's timestamps, and whose states a decision needs."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.stamps = array("q")
        self.prospects: dict[int, set[bytes]] = {}
        self.not_replayable = 0

    async def fill(self, settings: Settings, wanted: Filter, ends: Offsets) -> None:
        """Read headers; payloads are looked at, and let go."""
        ledger = settings.topics.ledger
        _, bound = await bounds(settings, {ledger: len(ends)}, committed_only=False)
        told = {place.partition: end for place, end in bound.items()}
        starts = await starts_of(settings, told, wanted.since)
        grown = (await destinations_of(settings)).grown
        standings_of = StandingsOf(settings, told, starts, grown=grown)
        for place, end in sorted(ends.items()):
            standings = await standings_of.of(place.partition)
            async for found in select(settings, replace(wanted, open_only=True), {place: end}, standings):
                self._add(found)

    def _add(self, found: list[Found]) -> None:
        for one in found:
            record, held = one.record, one.held
            if held.stage == "consent":
                self.not_replayable += 1
                continue
            owners = self.prospects.setdefault(record.partition, set())
            if record.key is not None:
                owners.add(record.key)
            if held.encryption is not None:
                owners.add(owner_of(record.key, held.stage, held.partner_id, held.quarantined_at, held.reason))
            self.stamps.append(record.timestamp)
            self.items.append(
                Item(record.partition, record.offset, held.quarantine_id, held.attempt, fingerprint_of(record), -1)
            )

    def in_order(self, numbers: Iterable[int]) -> list[int]:
        """As they were quarantined, across partitions."""
        stamps, items = self.stamps, self.items
        return sorted(numbers, key=lambda number: (stamps[number], items[number].partition, items[number].offset))

    def groups(self) -> Iterator[list[int]]:
        """Partitions to be decided together."""
        group: list[int] = []
        count = 0
        for partition, prospects in sorted(self.prospects.items()):
            if group and count + len(prospects) > _STATES:
                yield group
                group, count = [], 0
            group.append(partition)
            count += len(prospects)
        if group:
            yield group


async def make_plan(
    settings: Settings,
    registry: Registry,
    wanted: Filter,
    *,
    ticket: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Plan:
    """A plan over everything open that `wanted` means; nothing is written. `say` is told what goes on.

    Raises NothingMatched, InvalidInput when a topic is missing or the key file is none, BrokerUnavailable.
    """
    by, at = operator(settings), now()
    masters = master_keys(settings)
    sealing = UNSEALED if masters is None else Sealing(masters)
    await replay_partitions(settings, settings.topics.changelog, settings.topics.consents)
    ends = await quarantine_ends(settings)
    selection = _Selection()
    async with broker_errors(settings):
        await selection.fill(settings, wanted, ends)
    if not selection.items:
        beside = f"; {selection.not_replayable} unreadable consent events do" if selection.not_replayable else ""
        raise NothingMatched(
            f"no open record matches that could be replayed{beside}",
            do="settle unreadable consent events with: transfer-gate consent resolve"
            if selection.not_replayable
            else "see what there is: transfer-gate quarantine list",
        )
    say(f"{len(selection.items):,} open records match; deciding them as of now")
    book = Rulebook.of(settings.topics, registry)
    forecasts = await _forecast(settings, book, sealing, selection, say)
    order = selection.in_order(number for number, known in enumerate(forecasts.numbers) if known >= 0)
    if not order:
        raise NothingMatched("retention deleted every record that matched while this ran")
    return Plan(
        plan_id=str(uuid.uuid4()),
        by=by,
        at=at,
        ticket=ticket,
        filter=filter_details(wanted),
        topic=settings.topics.quarantine,
        ends={str(place.partition): end for place, end in sorted(ends.items())},
        revision=registry.revision,
        forecasts=tuple(forecasts.kinds),
        moves=moves_of(forecasts.moves),
        not_replayable=selection.not_replayable,
        items=tuple(replace(selection.items[number], forecast=forecasts.numbers[number]) for number in order),
    )


class _Forecasts:
    """Results by item, each different one held once; -1 for a record that is gone."""

    def __init__(self, items: int) -> None:
        self.numbers = array("i", [-1]) * items
        self.kinds: list[Result] = []
        self.moves: Counter[tuple[str | None, str, str]] = Counter()
        self._known: dict[bytes, int] = {}

    def put(self, number: int, result: Result) -> None:
        name = msgspec.json.encode(result)
        kind = self._known.setdefault(name, len(self.kinds))
        if kind == len(self.kinds):
            self.kinds.append(result)
        self.numbers[number] = kind


async def _forecast(
    settings: Settings, book: Rulebook, sealing: Sealing, selection: _Selection, say: Callable[[str], None]
) -> _Forecasts:
    forecasts = _Forecasts(len(selection.items))
    frozen = FrozenRecords(settings, settings.topics.quarantine)
    done = 0
    for group in selection.groups():
        at = now()
        states = await packed_states_of(settings, {partition: selection.prospects[partition] for partition in group})
        deciders = {partition: Forecaster(book, sealing, partition, states[partition], at) for partition in group}
        items = ((number, item) for number, item in enumerate(selection.items) if item.partition in deciders)
        async with broker_errors(settings), originals_of(settings) as originals:
            async for reading in frozen.read(items):
                left = reading.records
                while left:
                    records = [record for _, record in left]
                    count, found = await originals.of(records)
                    results = deciders[records[0].partition].results(records[:count], found)
                    for (number, _), result in zip(left, results, strict=False):
                        forecasts.put(number, result)
                    left = left[count:]
                done += len(reading.records)
        for decider in deciders.values():
            forecasts.moves.update(decider.moves)
        say(f"decided {done:,} of {len(selection.items):,}")
    return forecasts
