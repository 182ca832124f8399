"""The states of prospects, and the ledger entries of their quarantined records, on the way to their new partitions.

A state moves in one transaction: into the changelog of its new partition, and out of the old one. So it stands in one
place at any time, whenever the command is killed, and nothing of a person stays behind for an erasure to miss.

Ledger entries are copied instead: an old entry that stays goes on refusing attempts that were sent before.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, TypeVar

from msgspec.structs import replace

from transfer_gate.growth.owned import AllPartitions, Held
from transfer_gate.kafka import ConsumerRecord
from transfer_gate.kafka.batches import Batches
from transfer_gate.model.state import ProspectState
from transfer_gate.policy.fold import join
from transfer_gate.policy.recall import join as join_served
from transfer_gate.quarantine.search import Destinations
from transfer_gate.records.ledger import newest_of
from transfer_gate.records.partitioner import known_at
from transfer_gate.records.quarantined import MalformedHeaders, decode_quarantined
from transfer_gate.records.sealing import is_key_of_day
from transfer_gate.records.state import decode_served, decode_state, encode_served, encode_state, prospect_of

#: States and entries of one transaction.
TOGETHER: Final = 500

T = TypeVar("T")
Clock = Callable[[], int]
"""ms since the epoch."""


async def move_states(all_of: AllPartitions, clock: Clock) -> int:
    """Move every state to the partition of its key; returns how many moved. Raises RoundFailed.

    A prospect of whom two partitions hold a state (from before places were checked) keeps everything of both.
    """
    moved = 0
    for number in sorted(all_of.held):
        away = list(_away(all_of, number))
        for some in _parts(away):
            await _move(all_of, number, dict(some), clock())
            moved += len(some)
    return moved


def _parts(items: Iterable[T]) -> Iterator[list[T]]:
    """Of TOGETHER each, in order."""
    left = iter(items)
    while part := list(islice(left, TOGETHER)):
        yield part


def _away(all_of: AllPartitions, number: int) -> Iterator[tuple[bytes, int]]:
    """Keys of a partition's states that belong to another one, and to which."""
    for key in dict(all_of.held[number].tables.consent.items()):
        if is_key_of_day(key):
            continue  # seals what has no owner, beside which it stays
        home = all_of.book.placement.home(prospect_of(key) or key)
        if home is not None and home != number:
            yield key, home


async def _move(all_of: AllPartitions, number: int, away: Mapping[bytes, int], stamp: int) -> None:
    book, source = all_of.book, all_of.held[number].tables.consent
    out = Batches(number, stamp, book.limits)
    homes: dict[int, Batches] = {}
    states: dict[int, dict[bytes, bytes | None]] = {}
    for key, home in away.items():
        known = all_of.held[home].tables.consent.get(key)
        if prospect_of(key) is None:
            raw = _arrived(source.get(key), known, number, home)
        else:
            raw = encode_served(join_served(decode_served(known).parties, decode_served(source.get(key)).parties))
        homes.setdefault(home, Batches(home, stamp, book.limits)).add(book.changelog, key, raw)
        states.setdefault(home, {})[key] = raw
        out.add(book.changelog, key, None)
    writer = all_of.held[number].writer
    await writer.produce(out, *homes.values())
    await writer.commit(number, {})
    for home, changes in states.items():
        table = all_of.held[home].tables.consent
        table.update(changes, table.position)
    source.update(dict.fromkeys(away), source.position)


def _arrived(raw: bytes | None, known: bytes | None, number: int, home: int) -> bytes | None:
    """A state of partition `number` as partition `home` keeps it, joined with what that one knows of the prospect."""
    state = decode_state(raw)
    renamed = _renamed(state, number, home)
    if known is not None:
        return encode_state(join(decode_state(known), renamed))
    return raw if renamed is state else encode_state(renamed)


def _renamed(state: ProspectState, number: int, home: int) -> ProspectState:
    """A state names events that can't be read by their offsets in its own partition: these get names of their own."""
    if not state.unreadable and not state.resolved:
        return state
    return replace(
        state,
        unreadable=tuple(sorted(known_at(name, number, home) for name in state.unreadable)),
        resolved=tuple(sorted(known_at(name, number, home) for name in state.resolved)),
    )


async def copy_entries(
    all_of: AllPartitions, quarantine: AsyncIterator[list[ConsumerRecord]], to: Destinations, clock: Clock
) -> int:
    """Copy what the ledger says of quarantined records into the partitions to which their replays go; returns how many
    entries were copied. `quarantine`: every record that is held. Raises RoundFailed.
    """
    newest: dict[bytes, bytes] = {}
    for held in all_of.held.values():
        for key, entry in held.tables.ledger.items():
            newest[key] = newest_of(newest.get(key), entry)
    missing: dict[int, dict[bytes, bytes]] = {}
    if newest:
        async for records in quarantine:
            for record in records:
                _note_missing(all_of, record, to, newest, missing)
    for number, entries in sorted(missing.items()):
        for some in _parts(entries.items()):
            await _write_entries(all_of.held[number], all_of.book.ledger, dict(some), clock())
    return sum(map(len, missing.values()))


def _note_missing(
    all_of: AllPartitions,
    record: ConsumerRecord,
    to: Destinations,
    newest: Mapping[bytes, bytes],
    missing: dict[int, dict[bytes, bytes]],
) -> None:
    try:
        name = decode_quarantined(record.headers).quarantine_id.encode()
    except MalformedHeaders:
        return
    entry = newest.get(name)
    if entry is None:
        return
    target = to.of(record)
    if all_of.held[target].tables.ledger.get(name) != entry:
        missing.setdefault(target, {})[name] = entry


async def _write_entries(held: Held, ledger: str, entries: Mapping[bytes, bytes], stamp: int) -> None:
    batches = Batches(held.number, stamp)
    for key, entry in entries.items():
        batches.add(ledger, key, entry)
    await held.writer.produce(batches)
    await held.writer.commit(held.number, {})
    held.tables.ledger.update(dict(entries), held.tables.ledger.position)
