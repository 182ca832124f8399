"""Make a plan: select the open records that match a filter, and forecast the decision of each without sending it."""

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
from transfer_gate.quarantine.payloads import master_keys
from transfer_gate.quarantine.search import (
    Filter,
    Found,
    LedgerReader,
    destinations_of,
    filter_details,
    found_between,
    quarantine_ends,
    ranges,
    starts_of,
)
from transfer_gate.records.ledger import LedgerEntry, decode_entry, encode_entry
from transfer_gate.records.quarantined import Quarantined, decode_quarantined
from transfer_gate.records.sealing import UNSEALED, Sealing
from transfer_gate.replay.plan import Item, Items, Move, Plan, Result, fingerprint_of, result_of
from transfer_gate.replay.plan_store import now, planned_records, replay_partitions

#: In a forecast by channel: the payload is sealed, and this machine has no key for it.
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
        #: (partner, reason in quarantine, outcome) to number of channels.
        self.moves: Counter[tuple[str | None, str, str]] = Counter()

    def results(self, records: Sequence[Record], originals: FoundOriginals = NOTHING_FOUND) -> list[Result]:
        """The result that each of these open records would have; `originals`: of those by reference, by offset.

        Raises KeyMissing when a gate with these settings could not seal.
        """
        decoded = [decode_quarantined(record.headers) for record in records]
        ledger = MemorySlice()
        ledger.update(
            {each.quarantine_id.encode(): self._open(each.attempt) for each in decoded if each.attempt > 1}, 0
        )
        results: list[Result] = []
        while len(results) < len(records):  # a round takes as many as it may write
            work = Round(self._book, Tables(self._states, ledger), self._partition, self._at, self._sealing)
            work.bring(originals)
            done = len(results)
            count = work.replay(records[done:], 0)
            work.close()
            for quarantined in decoded[done : done + count]:
                entry = work.ledger_changes.get(quarantined.quarantine_id.encode())
                # Without an entry the gate would not accept it as a quarantined record, and leave it open.
                result = Result("refused") if entry is None else result_of(decode_entry(entry))
                self.moves.update(_moves(quarantined, result))
                results.append(result)
        return results

    def _open(self, attempt: int) -> bytes:
        return encode_entry(LedgerEntry(state="open", attempt=attempt, at=self._at))


def moves_of(counted: Counter[tuple[str | None, str, str]]) -> tuple[Move, ...]:
    """The forecast by partner and reason, the largest first."""
    return tuple(
        Move(partner_id=partner, reason=reason, outcome=outcome, channels=channels)
        for (partner, reason, outcome), channels in sorted(
            counted.items(), key=lambda counted: (-counted[1], str(counted[0]))
        )
    )


def _moves(quarantined: Quarantined, result: Result) -> list[tuple[str | None, str, str]]:
    whole = "split" if result.outcome == "split" else "released"
    if result.outcome in ("erased", "refused"):
        whole = NOT_OPENABLE if result.outcome == "refused" and quarantined.encryption is not None else result.outcome
        return [(quarantined.partner_id, reasons[0], whole) for reasons in quarantined.reasons.values()]
    return [
        (quarantined.partner_id, reasons[0], result.quarantined[channel][0] if channel in result.quarantined else whole)
        for channel, reasons in quarantined.reasons.items()
    ]


#: Prospects whose states are in memory at a time: partitions are forecast together up to so many, and a partition that
#: has more in stretches, each of which reads its changelog once.
_STATES: Final = 40_000
#: Offsets between two lines about a scan.
_LINE_OFFSETS: Final = 100_000

OnProgress = Callable[[str], None]


class _Keys(AbstractSet[bytes]):
    """Record keys by their hashes. A key that is in it by chance costs a state that is not needed."""

    def __init__(self, hashes: Iterable[int]) -> None:
        self._hashes = frozenset(hashes)

    def __contains__(self, key: object) -> bool:
        return hash(key) in self._hashes

    def __iter__(self) -> Iterator[bytes]:
        raise TypeError("hashes are not keys")

    def __len__(self) -> int:
        return len(self._hashes)


class _Group(NamedTuple):
    """Items that are forecast together: their numbers, and by partition the keys of the states that this needs."""

    numbers: Sequence[int]
    wanted: dict[int, _Keys]


class _Selection:
    """The selected records: items by partition and offset, and whose states a decision needs, in some 80 bytes each."""

    def __init__(self) -> None:
        self.items = Items()
        self.stamps = array("q")
        #: Hashes of the record's key and of the owner of its payload's key.
        self._prospects = array("q")
        self._owners = array("q")
        #: Numbers of the items of each partition.
        self._within: dict[int, range] = {}
        self.not_replayable = 0

    async def fill(self, session: Session, wanted: Filter, ends: Offsets, on_progress: OnProgress) -> None:
        """Select the records that match; their payloads are not kept."""
        ledger = session.settings.topics.ledger
        _, bound = await session.reader.bounds({ledger: len(ends)}, committed_only=False)
        ledger_ends = {place.partition: end for place, end in bound.items()}
        starts = await starts_of(session, ledger_ends, wanted.since)
        grown = (await destinations_of(session)).grown
        ledgers = LedgerReader(session, ledger_ends, starts, grown=grown)
        within = await ranges(session, wanted, ends)
        scan = _Scan(sum(end - start for start, end in within.values()), on_progress, lambda: len(self.items))
        for place in sorted(within):
            number, first = place.partition, len(self.items)
            index = await ledgers.of(number)
            still_open = replace(wanted, open_only=True)
            async for found in found_between(session, still_open, {place: within[place]}, index, scan.passed):
                self._add(found)
            self._within[number] = range(first, len(self.items))

    def _add(self, found: list[Found]) -> None:
        for each in found:
            record, held = each.record, each.held
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
        """What is forecast together: some partitions, or a stretch of one."""
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
        """Items that follow each other, of _STATES prospects at most, and the number of these prospects."""
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
    """Reports how far the scan of quarantine is: at its beginning, then every _LINE_OFFSETS."""

    def __init__(self, offsets: int, on_progress: OnProgress, matching: Callable[[], int]) -> None:
        self._offsets = offsets
        self._on_progress = on_progress
        self._matching = matching
        self._passed = 0
        on_progress(f"reading quarantine: {offsets:,} offsets")

    def passed(self, offsets: int) -> None:
        """Count offsets that were passed."""
        lines = self._passed // _LINE_OFFSETS
        self._passed += offsets
        if self._passed // _LINE_OFFSETS > lines:
            self._on_progress(
                f"read {self._passed:,} of {self._offsets:,} offsets, {self._matching():,} open records match"
            )


async def make_plan(
    session: Session,
    registry: Registry,
    wanted: Filter,
    *,
    ticket: str | None = None,
    on_progress: OnProgress = lambda _: None,
) -> Plan:
    """A plan over every open record that matches `wanted`; nothing is written. `on_progress` gets lines of progress.

    Raises NothingMatched, InvalidInput when a topic is missing or the key file is wrong, BrokerUnavailable.
    """
    settings = session.settings
    by, at = operator(settings), now()
    masters = master_keys(settings)
    sealing = UNSEALED if masters is None else Sealing(masters)
    await replay_partitions(session, settings.topics.changelog, settings.topics.consents)
    ends = await quarantine_ends(session)
    selection = _Selection()
    await selection.fill(session, wanted, ends, on_progress)
    if not selection.items:
        beside = f"; {selection.not_replayable} unreadable consent events do" if selection.not_replayable else ""
        raise NothingMatched(
            f"no open record matches that could be replayed{beside}",
            do="settle unreadable consent events with: transfer-gate consent resolve"
            if selection.not_replayable
            else "see what there is: transfer-gate quarantine list",
        )
    on_progress(f"{len(selection.items):,} open records match; deciding each as of now")
    book = Rulebook.of(settings.topics, registry)
    forecasts = await _forecast(session, book, sealing, selection, on_progress)
    kinds = forecasts.numbers
    items = selection.items.forecast_as((number for number in selection.in_order() if kinds[number] >= 0), kinds)
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
    """Results by item, each different result kept once; -1 for a record that is gone."""

    def __init__(self, items: int) -> None:
        self.numbers = array("i", [-1]) * items
        self.kinds: list[Result] = []
        self.moves: Counter[tuple[str | None, str, str]] = Counter()
        self._kind_of: dict[bytes, int] = {}

    def put(self, number: int, result: Result) -> None:
        name = msgspec.json.encode(result)
        kind = self._kind_of.setdefault(name, len(self.kinds))
        if kind == len(self.kinds):
            self.kinds.append(result)
        self.numbers[number] = kind


async def _forecast(
    session: Session, book: Rulebook, sealing: Sealing, selection: _Selection, on_progress: OnProgress
) -> _Forecasts:
    forecasts = _Forecasts(len(selection.items))
    done = 0
    for group in selection.groups():
        at = now()
        states = await packed_states_of(session, group.wanted)
        deciders = {partition: Forecaster(book, sealing, partition, states[partition], at) for partition in states}
        items = ((number, selection.items[number]) for number in group.numbers)
        originals = originals_of(session)
        async for part in planned_records(session.reader, session.settings.topics.quarantine, items):
            left = part.records
            while left:
                records = [record for _, record in left]
                count, found = await originals.of(records)
                results = deciders[records[0].partition].results(records[:count], found)
                for (number, _), result in zip(left, results, strict=False):
                    forecasts.put(number, result)
                left = left[count:]
            done += len(part.records)
        for decider in deciders.values():
            forecasts.moves.update(decider.moves)
        on_progress(f"decided {done:,} of {len(selection.items):,}")
    return forecasts
