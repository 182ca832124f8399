"""The steps by which an installation grows. Each may be repeated, so that a run which was killed is run again.

1. `look_before`: no worker runs, everything is decided. `verify`.
2. Fence: an earlier worker can't commit any more.
3. More partitions for every topic that carries a prospect. From here on workers refuse: the commits note the old count.
4. States go to the partitions of their keys, ledger entries to those of their records.
5. Consent events that were not applied are applied, as a worker would, deciding nothing: topics were given more
   partitions by hand, under which no worker decides, or the group's offsets were set back to have the history folded
   anew. Those in a place that is not their key's go home by the topic of strays; so all partitions apply their events
   first, and then what came home.
6. The new count is noted, partition by partition. While one notes the old count, no worker decides.
7. `verify`, which must find no more faults than before.
"""

import datetime as dt
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.errors import CheckFailed
from transfer_gate.gate.inbox import Fetched, Offsets
from transfer_gate.gate.monitoring import Meter
from transfer_gate.gate.partition import Partition, Shared
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.growth.moves import copy_entries, move_states
from transfer_gate.growth.owned import AllPartitions, Held, in_words
from transfer_gate.growth.survey import Before, look_before
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.access import broker_errors
from transfer_gate.kafka.batches import Batches
from transfer_gate.kafka.coordinator import RoundFailed
from transfer_gate.kafka.log_reader import ends_of
from transfer_gate.kafka.reader import Reader
from transfer_gate.kafka.session import Session
from transfer_gate.kafka.sizes import Limits
from transfer_gate.kafka.watermarks import Watermarks
from transfer_gate.model.registry import Registry
from transfer_gate.quarantine.payloads import master_keys
from transfer_gate.quarantine.search import Destinations
from transfer_gate.records.commit_notes import Placed
from transfer_gate.records.partitioner import Placements
from transfer_gate.records.sealing import Sealing
from transfer_gate.records.state import STATE_FORMAT
from transfer_gate.settings import Settings
from transfer_gate.verify.account import Account, verify

Say = Callable[[str], None]


class Grown(Struct, frozen=True, kw_only=True):
    """What `topics grow` did.

    - `partitions`: the count now; `decided_under`: the one before, None where nothing was decided yet.
    - `states`, `entries`: states that moved, ledger entries that were copied, by this run.
    - `events`: consent events that this run applied.
    - `undecided`: offsets of transfers and replays that stand before the group (topics that were grown by hand).
    """

    partitions: int
    decided_under: int | None
    states: int
    entries: int
    events: int
    undecided: int


async def grow(
    session: Session, registry: Registry, partitions: int, *, despite_verify: bool = False, say: Say = lambda _: None
) -> Grown:
    """Bring an installation to `partitions` partitions; a run that was killed is run again in the same words.

    `despite_verify`: also where `verify` finds faults; none may be added. `say` reports progress.

    Raises InvalidInput, NothingMatched, RefusedByGuard (see `look_before`; or a worker was started meanwhile),
    CheckFailed when `verify` does not hold, HistoryLost, StateTooNew, AccessDenied, BrokerUnavailable.
    """
    settings, cluster = session.settings, session.cluster
    before = await look_before(session, registry, partitions)
    account = await _verified(settings, registry, say)
    if not account.counts.holds and not despite_verify:
        raise CheckFailed(
            f"verify does not hold: {_faults(account)}",
            do="see docs/how-to/verify.md; --despite-verify grows all the same, and holds that no fault is added",
        )
    configs = await cluster.configs(before.counts)
    placements = Placements(settings.partitioner, partitions)
    book = Rulebook.of(settings.topics, registry, placements.now, Limits(configs), settings.bounds)
    try:
        async with (
            broker_errors(session.options),
            AllPartitions(settings, session.options, book, partitions) as all_of,
        ):
            await all_of.fence()
            fewer = {topic: partitions for topic, count in before.counts.items() if count < partitions}
            say(f"{len(fewer)} topics get {partitions} partitions")
            await cluster.create_partitions(fewer)
            grown = await _bring_over(session, all_of, before, say)
    except RoundFailed as error:
        raise in_words(error) from error
    after = await _verified(settings, registry, say)
    # A history that is folded anew has copies of unreadable events written anew.
    if _sum(after, copies=grown.decided_under is not None) > _sum(account, copies=grown.decided_under is not None):
        raise CheckFailed(
            f"verify found {_faults(account)} before and finds {_faults(after)} now",
            do="start no worker; look for the records (docs/how-to/verify.md)",
        )
    return grown


async def _bring_over(session: Session, all_of: AllPartitions, before: Before, say: Say) -> Grown:
    await all_of.read()
    _mark_places(all_of, before)
    sealing = Sealing(master_keys(session.settings))
    states = await move_states(all_of, _now_ms)
    say(f"{states:,} states moved to the partitions of their keys")
    book = all_of.book
    _, ends = await session.reader.bounds({book.quarantine: before.partitions}, committed_only=True)
    earlier = {(book.quarantine, 0): [Placed(before.decided_under or before.partitions, 1)]}
    to = Destinations(Placements(session.settings.partitioner, before.partitions, earlier))
    entries = await copy_entries(all_of, session.reader.records(ends), to, _now_ms)
    say(f"{entries:,} entries of the replay ledger copied")
    under = before.decided_under
    events = (
        await apply_events(session.reader, all_of, sealing, under or before.partitions) if _ever_worked(all_of) else 0
    )
    say(f"{events:,} consent events applied")
    await _note_count(session.reader, all_of, before)
    return Grown(
        partitions=before.partitions,
        decided_under=under,
        states=states,
        entries=entries,
        events=events,
        undecided=before.undecided,
    )


def _ever_worked(all_of: AllPartitions) -> bool:
    return any(held.noted for held in all_of.held.values())


async def _note_count(reader: Reader, all_of: AllPartitions, before: Before) -> None:
    """Commit the new count in every partition. Where no worker ever ran there is nothing to note."""
    if not _ever_worked(all_of):
        return
    book = all_of.book
    numbers = set(all_of.held)
    changelogs = await ends_of(all_of.options, book.changelog, numbers)
    ledgers = await ends_of(all_of.options, book.ledger, numbers)
    begins, _ = await reader.bounds({book.consents: len(numbers)}, committed_only=False)
    first = {place.partition: begin for place, begin in begins.items()}
    for number in sorted(numbers):
        held = all_of.held[number]
        # A partition that holds states must know that it holds them: its note says so.
        offsets = {book.consents: first[number], **held.committed}
        note = replace(
            held.note,
            changelog_end=changelogs[number],
            ledger_end=ledgers[number],
            partitions=before.partitions,
            state_format=STATE_FORMAT,
            offsets=offsets,
        )
        await held.writer.produce(Batches(number, _now_ms()))
        await held.writer.commit(number, {**offsets, book.ledger: ledgers[number]}, str(note))


def _mark_places(all_of: AllPartitions, before: Before) -> None:
    """Note up to where the records of each partition were placed under the former count: where the group stands now.
    What comes behind may have been placed under either. A former run that was killed may have noted it already.
    """
    count = before.decided_under
    if count is None:
        return
    for held in all_of.held.values():
        lives = dict(held.note.topics)
        for topic in (all_of.book.transfers, all_of.book.consents):
            life, reached = lives[topic], held.committed.get(topic)
            if held.number < count and reached and all(placed.partitions != count for placed in life.placed):
                lives[topic] = life._replace(placed=(*life.placed, Placed(count, reached)))
        held.note = replace(held.note, topics=lives)


async def _verified(settings: Settings, registry: Registry, say: Say) -> Account:
    """Everything that is decided, accounted for."""
    say("verify")
    return await verify(settings, registry, wait_seconds=0, decided_only=True)


def _sum(account: Account, *, copies: bool) -> int:
    counts = account.counts
    return counts.missing + counts.misrouted + (counts.duplicated if copies else 0)


def _faults(account: Account) -> str:
    counts = account.counts
    return f"missing {counts.missing}, duplicated {counts.duplicated}, misrouted {counts.misrouted}"


def _now_ms() -> int:
    return int(dt.datetime.now(dt.UTC).timestamp() * 1000)


async def apply_events(reader: Reader, all_of: AllPartitions, sealing: Sealing, under: int) -> int:
    """Apply every consent event and stray that stands behind the group's offsets; returns how many.

    Commits note the partition count `under`, which keeps workers from deciding as long as not everything is in its
    place. Waits for transactions that are open. Raises RoundFailed, HistoryLost, BrokerUnavailable.
    """
    book = all_of.book
    watermarks = Watermarks(all_of.options, (book.consents, book.strays))
    await watermarks.start()
    try:
        applied = 0
        while behind := await _behind(reader, all_of):
            topic = book.consents if any(place.topic == book.consents for place in behind) else book.strays
            for place, (start, end) in behind.items():
                if place.topic == topic:
                    applied += await _apply(reader, all_of, place, start, end, watermarks, sealing, under)
        return applied
    finally:
        await watermarks.close()


async def _behind(reader: Reader, all_of: AllPartitions) -> dict[TopicPartition, tuple[int, int]]:
    """Partitions of consents and strays of which not everything is applied: from where on, and where they end."""
    book, count = all_of.book, len(all_of.held)
    begins, ends = await reader.bounds({book.consents: count, book.strays: count}, committed_only=False)
    reached = {place: all_of.held[place.partition].committed.get(place.topic, begins[place]) for place in ends}
    return {place: (reached[place], end) for place, end in ends.items() if reached[place] < end}


async def _apply(
    reader: Reader,
    all_of: AllPartitions,
    place: TopicPartition,
    start: int,
    end: int,
    watermarks: Watermarks,
    sealing: Sealing,
    under: int,
) -> int:
    held = all_of.held[place.partition]
    partition = _partition(all_of, held, watermarks, sealing, under)
    count = 0
    async for records in reader.records({place: end}, {place: start}):
        partition.receive(place.topic, Fetched.of(records, records[-1].offset + 1))
        await partition.work()
        count += len(records)
    partition.receive(place.topic, Fetched.of((), end))
    await partition.work()
    reached = partition.offsets.known(all_of.book)
    # The leader epoch of what was applied here is not known (KIP-320): a worker notes the next one.
    lives = {
        topic: life if held.committed.get(topic) == reached.get(topic) else life._replace(epoch=-1)
        for topic, life in held.note.topics.items()
    }
    held.committed, held.note = reached, replace(held.note, topics=lives)
    return count


def _partition(all_of: AllPartitions, held: Held, watermarks: Watermarks, sealing: Sealing, under: int) -> Partition:
    """A partition that is given no transfers, so that it decides none."""
    settings, book = all_of.settings, all_of.book
    shared = Shared(
        book=book,
        watermark=watermarks,
        meter=Meter(book),
        round_records=settings.max_round_records,
        inbox_records=settings.max_inbox_records,
        sealing=sealing,
    )
    return Partition(
        held.number,
        shared,
        held.tables,
        held.writer,
        Offsets.of(book, held.committed),
        replace(held.note, partitions=under),
    )
