"""Make a plan: freeze the open records that a filter means, and decide each again without sending it."""

import datetime as dt
import uuid
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from heapq import merge
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from transfer_gate.errors import NothingMatched
from transfer_gate.gate.inbox import Record
from transfer_gate.gate.originals import NOTHING_FOUND, originals_of
from transfer_gate.gate.originals import Found as FoundOriginals
from transfer_gate.gate.round import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, Tables
from transfer_gate.kafka.reader import Offsets
from transfer_gate.kafka.session import Session
from transfer_gate.model.registry import Registry
from transfer_gate.operators import operator
from transfer_gate.quarantine.consent_states import packed_states_of
from transfer_gate.quarantine.ledger_index import LedgerReader, starts_of
from transfer_gate.quarantine.payloads import master_keys
from transfer_gate.quarantine.search import (
    Filter,
    Found,
    destinations_of,
    filter_details,
    found_between,
    quarantine_ends,
    ranges,
)
from transfer_gate.records.ledger import LedgerEntry, decode_entry, encode_entry
from transfer_gate.records.quarantined import Quarantined, decode_quarantined
from transfer_gate.records.sealing import UNSEALED, Sealing
from transfer_gate.replay.plan import Item, Items, Move, Plan, Result, fingerprint_of, result_of
from transfer_gate.replay.plan_store import now, replay_partitions
from transfer_gate.replay.planned_records import planned_records

#: In a forecast by channel: the payload is sealed, and there is no key for it here.
NOT_OPENABLE: Final = "not-openable"


class Forecaster:
    """Decides records of one partition, with the states of its prospects as of `at` (UTC)."""

    def __init__(
        self, book: Rulebook, sealing: Sealing, partition: int, states: Mapping[bytes, bytes], at: dt.datetime
    ) -> None:
        self._book = book
        self._sealing = sealing
        self._partition = partition
        self._at = at
        self._states = MemorySlice()
        self._states.update(states, 0)
        #: (partner, reason of now, outcome) to number of channels.
        self.moves: Counter[tuple[str | None, str, str]] = Counter()

    def results(self, records: Sequence[Record], originals: FoundOriginals = NOTHING_FOUND) -> list[Result]:
        """What each of some open records would come to; `originals`: of those by reference, by offset.

        Raises KeyMissing when the gate here could not seal.
        """
        held = [decode_quarantined(record.headers) for record in records]
        ledger = MemorySlice()
        ledger.update({one.quarantine_id.encode(): self._open(one.attempt) for one in held if one.attempt > 1}, 0)
        results: list[Result] = []
        while len(results) < len(records):  # a round takes as many as it may write
            work = Round(self._book, Tables(self._states, ledger), self._partition, self._at, self._sealing)
            work.bring(originals)
            done = len(results)
            count = work.replay(records[done:], 0)
            work.close()
            for one in held[done : done + count]:
                entry = work.ledger_changes.get(one.quarantine_id.encode())
                # Without an entry the gate would take it for no record of quarantine, and leave it open.
                result = Result("refused") if entry is None else result_of(decode_entry(entry))
                self.moves.update(_moves(one, result))
                results.append(result)
        return results

    def _open(self, attempt: int) -> bytes:
        return encode_entry(LedgerEntry(state="open", attempt=attempt, at=self._at))


def moves_of(counted: Counter[tuple[str | None, str, str]]) -> tuple[Move, ...]:
    """The forecast by partner and reason, the largest first."""
    return tuple(
        Move(partner_id=partner, reason=reason, outcome=outcome, channels=channels)
        for (partner, reason, outcome), channels in sorted(counted.items(), key=lambda one: (-one[1], str(one[0])))
    )


def _moves(held: Quarantined, result: Result) -> list[tuple[str | None, str, str]]:
    whole = "split" if result.outcome == "split" else "released"
    if result.outcome in ("erased", "refused"):
        whole = NOT_OPENABLE if result.outcome == "refused" and held.encryption is not None else result.outcome
        return [(held.partner_id, reasons[0], whole) for reasons in held.reasons.values()]
    return [
        (held.partner_id, reasons[0], result.quarantined[channel][0] if channel in result.quarantined else whole)
        for channel, reasons in held.reasons.items()
    ]


#: Prospects whose states are held in memory at a time: partitions are taken together up to so many, and one that has
#: more is decided in stretches, each of which reads its changelog once.
_STATES: Final = 40_000
#: Offsets between two lines about a scan.
_LINE_OFFSETS: Final = 100_000

Say = Callable[[str], None]


class _Keys(AbstractSet[bytes]):
    """Record keys by their hashes. One that is in it by chance costs a state that nobody asks for."""

    def __init__(self, hashes: Iterable[int]) -> None:
        self._hashes = frozenset(hashes)

    def __contains__(self, key: object) -> bool:
        return hash(key) in self._hashes

    def __iter__(self) -> Iterator[bytes]:
        raise TypeError("hashes are no keys")

    def __len__(self) -> int:
        return len(self._hashes)


class _Group(NamedTuple):
    """Items that are decided together: their numbers, and by partition the keys of the states that this takes."""

    numbers: Sequence[int]
    wanted: dict[int, _Keys]


class _Selection:
    """The frozen records: items by partition and offset, and whose states a decision needs, in some 80 bytes each."""

    def __init__(self) -> None:
        self.items = Items()
        self.stamps = array("q")
        #: Hashes of the record's key and of the owner of its payload's key.
        self._prospects = array("q")
        self._owners = array("q")
        #: Numbers of the items of each partition.
        self._within: dict[int, range] = {}
        self.not_replayable = 0

    async def fill(self, session: Session, wanted: Filter, ends: Offsets, say: Say) -> None:
        """Read headers; payloads are looked at, and let go."""
        ledger = session.settings.topics.ledger
        _, bound = await session.reader.bounds({ledger: len(ends)}, committed_only=False)
        told = {place.partition: end for place, end in bound.items()}
        starts = await starts_of(session, told, wanted.since)
        grown = (await destinations_of(session)).grown
        standings_of = LedgerReader(session, told, starts, grown=grown)
        within = await ranges(session, wanted, ends)
        scan = _Scan(sum(end - start for start, end in within.values()), say, lambda: len(self.items))
        for place in sorted(within):
            number, first = place.partition, len(self.items)
            standings = await standings_of.of(number)
            open_ones = replace(wanted, open_only=True)
            async for found in found_between(session, open_ones, {place: within[place]}, standings, scan.passed):
                self._add(found)
            self._within[number] = range(first, len(self.items))

    def _add(self, found: list[Found]) -> None:
        for one in found:
            record, held = one.record, one.held
            if held.stage == "consent":
                self.not_replayable += 1
                continue
            key = hash(record.key or b"")
            self._prospects.append(key)
            self._owners.append(key if held.encryption is None else hash(held.owner(record.key)))
            self.stamps.append(record.timestamp)
            self.items.append(
                Item(record.partition, record.offset, held.quarantine_id, held.attempt, fingerprint_of(record), -1)
            )

    def in_order(self) -> Iterator[int]:
        """Numbers of the items as they were quarantined, across partitions: each has them in that order."""

        def since(number: int) -> tuple[int, int, int]:
            return self.stamps[number], *self.items.place(number)

        return merge(*self._within.values(), key=since)

    def groups(self) -> Iterator[_Group]:
        """What is decided together: some partitions, or a stretch of one."""
        group: dict[int, range] = {}
        count = 0
        for partition, within in sorted(self._within.items()):
            for stretch, prospects in self._stretches(within):
                if group and count + prospects > _STATES:
                    yield self._group(group)
                    group, count = {}, 0
                group[partition] = stretch
                count += prospects
        if group:
            yield self._group(group)

    def _stretches(self, within: range) -> Iterator[tuple[range, int]]:
        """Items that follow each other, of _STATES prospects at most, and of how many."""
        first, seen = within.start, set[int]()
        for number in within:
            prospect = self._prospects[number]
            if len(seen) == _STATES and prospect not in seen:
                yield range(first, number), len(seen)
                first, seen = number, set()
            seen.add(prospect)
        if seen:
            yield range(first, within.stop), len(seen)

    def _group(self, group: Mapping[int, range]) -> _Group:
        numbers = [number for stretch in group.values() for number in stretch]
        return _Group(numbers, {partition: self._keys(stretch) for partition, stretch in group.items()})

    def _keys(self, numbers: Iterable[int]) -> _Keys:
        return _Keys(each for number in numbers for each in (self._prospects[number], self._owners[number]))


class _Scan:
    """Says how far the scan of quarantine is: at its beginning, then once in a while."""

    def __init__(self, offsets: int, say: Say, matching: Callable[[], int]) -> None:
        self._offsets = offsets
        self._say = say
        self._matching = matching
        self._passed = 0
        say(f"reading quarantine: {offsets:,} offsets")

    def passed(self, offsets: int) -> None:
        """So many more were passed."""
        lines = self._passed // _LINE_OFFSETS
        self._passed += offsets
        if self._passed // _LINE_OFFSETS > lines:
            self._say(f"read {self._passed:,} of {self._offsets:,} offsets, {self._matching():,} open records match")


async def make_plan(
    session: Session,
    registry: Registry,
    wanted: Filter,
    *,
    ticket: str | None = None,
    say: Say = lambda _: None,
) -> Plan:
    """A plan over everything open that `wanted` means; nothing is written. `say` is told what goes on.

    Raises NothingMatched, InvalidInput when a topic is missing or the key file is none, BrokerUnavailable.
    """
    settings = session.settings
    by, at = operator(settings), now()
    masters = master_keys(settings)
    sealing = UNSEALED if masters is None else Sealing(masters)
    await replay_partitions(session, settings.topics.changelog, settings.topics.consents)
    ends = await quarantine_ends(session)
    selection = _Selection()
    await selection.fill(session, wanted, ends, say)
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
    forecasts = await _forecast(session, book, sealing, selection, say)
    known = forecasts.numbers
    items = selection.items.forecast_as((number for number in selection.in_order() if known[number] >= 0), known)
    if not items:
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
        items=items,
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


async def _forecast(session: Session, book: Rulebook, sealing: Sealing, selection: _Selection, say: Say) -> _Forecasts:
    forecasts = _Forecasts(len(selection.items))
    done = 0
    for group in selection.groups():
        at = now()
        states = await packed_states_of(session, group.wanted)
        deciders = {partition: Forecaster(book, sealing, partition, states[partition], at) for partition in states}
        items = ((number, selection.items[number]) for number in group.numbers)
        originals = originals_of(session)
        async for reading in planned_records(session.reader, session.settings.topics.quarantine, items):
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
