"""Whether the topics, the registry and the group are still those of the last commits: what a worker compares when it
takes a partition over, for all partitions at once and without taking any over.

What is wrong and what to do comes from the worker's own functions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from msgspec import Struct

from transfer_gate.doctor.local_checks import Finding
from transfer_gate.errors import BrokerUnavailable, GateError
from transfer_gate.gate.integrity.commit_note import note_of, read_note
from transfer_gate.gate.integrity.identity import partitions_changed, require_order
from transfer_gate.gate.integrity.logs import require_epoch, require_events, require_log, require_same_log
from transfer_gate.gate.integrity.offsets import (
    OffsetEvidence,
    evidence_of,
    offsets_set,
    require_history_home,
    require_not_again,
    require_nothing_skipped,
    require_offsets,
)
from transfer_gate.gate.members import TopicsShared, require_alone, require_own_members
from transfer_gate.kafka.cluster import FoundTopic
from transfer_gate.kafka.coordinator import Committed, RoundFailed
from transfer_gate.kafka.reader import Offsets, Reader
from transfer_gate.kafka.session import Session
from transfer_gate.kafka.topic_watch import Identities, TopicWatch
from transfer_gate.model.topics import Topics
from transfer_gate.records.commit_notes import CommitNote
from transfer_gate.records.state import STATE_FORMAT, format_too_new

Place = tuple[str, int]
"""Topic and partition."""

_GROUP: Final = "group members"
_COUNT: Final = "partition count"
_TOPIC: Final = "topic identity"
_ORDER: Final = "registry order"
_FORMAT: Final = "state format"
_OFFSETS: Final = "group offsets"
_LOGS: Final = "log ends"


class Comparison(Struct, frozen=True, kw_only=True):
    """What the group has committed, and what is there now.

    `committed`: by partition, by input topic. `begins` and `ends`: first and end offset by place (high watermark);
    `epoch_ends`: where the leader epoch that was noted of a place ends now. `with_states`: partitions whose changelog
    holds states, of those without an offset of transfers. `registry`: `published_at/revision` of the registry in
    use; `evidence`: what the decision records show of partitions without a note.
    """

    committed: Mapping[int, Mapping[str, Committed]]
    identities: Identities
    begins: Mapping[Place, int]
    ends: Mapping[Place, int]
    epoch_ends: Mapping[Place, int]
    with_states: frozenset[int]
    members: tuple[frozenset[str], ...]
    registry: str
    evidence: OffsetEvidence


async def commits(session: Session, found: Mapping[str, FoundTopic], registry: str) -> list[Finding]:
    """Findings on everything that the group's commits noted; `registry`: the order of that in use, empty for none.

    Raises BrokerUnavailable, AccessDenied.
    """
    topics = session.settings.topics
    if topics.transfers not in found:
        return []  # reported as a missing topic
    findings = compare(session.settings.app_id, topics, await _look(session, found, registry))
    try:
        await require_alone(session.cluster, session.settings)
    except TopicsShared as error:
        findings.append(_finding(_GROUP, error))
    return findings


def compare(group: str, topics: Topics, seen: Comparison) -> list[Finding]:
    """Every identity fault, or a single line that there is none."""
    notes = _notes_of(topics, seen.committed, seen.identities)
    findings = [
        *_group_faults(group, topics, seen, notes),
        *_merged(_partition_faults(topics, seen, notes)),
        *_topics_made_anew(topics, seen, notes),
    ]
    if findings:
        return findings
    unchanged = f"topics, registry and logs are those of the last commits of {len(notes)} partitions"
    return [Finding("commits", "ok", unchanged if notes else f"group {group} has decided nothing yet")]


def _group_faults(group: str, topics: Topics, seen: Comparison, notes: Mapping[int, CommitNote]) -> Iterator[Finding]:
    """What concerns all partitions alike."""
    yield from _faults(_GROUP, lambda: require_own_members(group, topics.inputs(), seen.members))
    found = seen.identities[topics.transfers].partitions
    counts = {note.partitions for note in notes.values() if note.partitions and note.partitions != found}
    for count in sorted(counts):
        yield _finding(_COUNT, partitions_changed(count, found))
    consents = seen.identities[topics.consents]
    yield from _faults(
        _COUNT,
        lambda: require_history_home(topics.consents, seen.committed, consents.topic_id, consents.partitions),
    )
    newest = max((note.registry for note in notes.values()), default="")
    yield from _faults(_ORDER, lambda: require_order(f"group {group}", seen.registry, newest))


def _partition_faults(
    topics: Topics, seen: Comparison, notes: Mapping[int, CommitNote]
) -> Iterator[tuple[int, str, Finding]]:
    """What concerns one partition: its number, and what faults of other partitions are alike to it."""
    for number in range(seen.identities[topics.transfers].partitions):
        offsets, note = seen.committed.get(number, {}), notes.get(number)
        for check, alike, require in (
            *_of_offsets(topics, seen, number, offsets),
            *(_of_note(topics, seen, number, offsets, note) if note is not None else ()),
        ):
            for finding in _faults(check, require):
                yield number, f"{check} {alike}", finding


Check = tuple[str, str, Callable[[], None]]
"""What it is about, about which topic, and what raises GateError for a fault."""


def _of_offsets(topics: Topics, seen: Comparison, number: int, offsets: Mapping[str, Committed]) -> Iterator[Check]:
    def required() -> None:
        # The brokers forget a whole group: then states of another partition show that this was decided, too.
        forgotten = not any(read_note(found) for offsets in seen.committed.values() for found in offsets.values())
        worked = number in seen.with_states or (forgotten and bool(seen.with_states))
        require_offsets(topics.transfers, number, offsets, has_state=worked)

    yield _OFFSETS, topics.transfers, required
    # The right offset is another one in every partition.
    yield _OFFSETS, f"{topics.transfers} {number}", partial(seen.evidence.require, number, offsets)


def _of_note(
    topics: Topics, seen: Comparison, number: int, offsets: Mapping[str, Committed], note: CommitNote
) -> Iterator[Check]:
    if note.state_format > STATE_FORMAT:
        yield _FORMAT, "", lambda: _raise(format_too_new(f"the group's note of partition {number}", note.state_format))
    for topic, reach in ((topics.changelog, note.changelog_end), (topics.ledger, note.ledger_end)):
        place = topic, number
        if place not in seen.ends:
            continue
        known, now = note.topics.get(topic), seen.identities[topic].topic_id
        if known is not None and known.topic_id != now:
            yield _TOPIC, topic, partial(require_same_log, topic, number, known, now, reach)
        else:
            yield _LOGS, topic, partial(require_log, topic, number, reach, 0, seen.begins[place], seen.ends[place])
    moved = offsets_set(offsets, note, {topic: found.topic_id for topic, found in seen.identities.items()})
    for topic, both in moved.items():
        if topic in (topics.consents, topics.strays):
            yield _OFFSETS, topic, partial(require_nothing_skipped, topic, number, both)
        elif topic == topics.transfers:
            epoch_end = seen.epoch_ends.get((topic, number))
            yield _OFFSETS, topic, partial(require_not_again, topic, number, both, epoch_end)
    for topic, committed in offsets.items():
        place, known = (topic, number), note.topics.get(topic)
        if place not in seen.ends or (known is not None and known.topic_id != seen.identities[topic].topic_id):
            continue
        if topic in (topics.consents, topics.strays):
            begin, end = seen.begins[place], seen.ends[place]
            yield _LOGS, topic, partial(require_events, topic, number, committed.offset, begin, end)
        if known is not None and place in seen.epoch_ends:
            epoch_end = seen.epoch_ends[place]
            yield _LOGS, topic, partial(require_epoch, topic, number, known.epoch, committed.offset, epoch_end)


def _topics_made_anew(topics: Topics, seen: Comparison, notes: Mapping[int, CommitNote]) -> Iterator[Finding]:
    """Input topics that no worker has met under their new id: it goes on with them, so nothing fails."""
    for topic in topics.inputs():
        found = seen.identities.get(topic)
        noted = {life.topic_id for note in notes.values() if (life := note.topics.get(topic)) is not None}
        if found is None or not noted - {found.topic_id}:
            continue
        yield Finding(
            _TOPIC,
            "warn",
            f"{topic} was deleted and made anew since the last commit: the next worker reads it from its beginning, "
            "under new names; what stood on the former topic unread is gone",
            "if it was meant, nothing; else find out who deleted it, and have its source publish again what was not "
            "decided (transfers) or not folded (consent events)",
        )


def _merged(faults: Iterable[tuple[int, str, Finding]]) -> Iterator[Finding]:
    """One finding for faults that differ by their partition only: the first, with the numbers of the others."""
    alike: dict[str, tuple[Finding, list[int]]] = {}
    for number, kind, finding in faults:
        alike.setdefault(kind, (finding, []))[1].append(number)
    for finding, numbers in alike.values():
        others = ", ".join(map(str, numbers[1:]))
        found = f"{finding.found} (likewise partition {others})" if others else finding.found
        yield Finding(finding.check, finding.status, found, finding.do)


def _raise(error: GateError) -> None:
    raise error


def _faults(check: str, require: Callable[[], None]) -> Iterator[Finding]:
    try:
        require()
    except GateError as error:
        yield _finding(check, error)


def _finding(check: str, error: GateError) -> Finding:
    return Finding(check, "FAIL", error.message, error.do)


def _notes_of(
    topics: Topics, committed: Mapping[int, Mapping[str, Committed]], identities: Identities
) -> dict[int, CommitNote]:
    """By partition: the note that a worker would go by; partitions without any note are left out."""
    ids = {topic: found.topic_id for topic, found in identities.items()}
    return {
        number: note_of(offsets, topics.consents, ids)
        for number, offsets in committed.items()
        if any(read_note(found) is not None for found in offsets.values())
    }


async def _look(session: Session, found: Mapping[str, FoundTopic], registry: str) -> Comparison:
    settings, cluster = session.settings, session.cluster
    topics = settings.topics
    watched = [name for name in (*topics.inputs(), topics.changelog, topics.ledger) if name in found]
    committed: dict[int, dict[str, Committed]] = {}
    for (topic, number), offset in (await cluster.group_offsets(settings.app_id)).items():
        if topic in (*topics.inputs(), topics.ledger):
            committed.setdefault(number, {})[topic] = offset
    begins, ends = await session.reader.bounds({name: found[name].partitions for name in watched}, committed_only=False)
    watch = TopicWatch(session.options, tuple(watched))
    try:
        await watch.start()
        identities = await watch.look()
        epoch_ends = await _epoch_ends(watch, topics, committed, identities)
    except RoundFailed as error:
        raise BrokerUnavailable(str(error), do="look at the brokers' logs, then run the command again") from None
    finally:
        await watch.close()
    known = {(topic, number): one for number, offsets in committed.items() for topic, one in offsets.items()}
    count = identities[topics.transfers].partitions
    read = (topics.consents, topics.strays, topics.decisions)
    complete = all(name in found and found[name].partitions >= count for name in read)
    forgotten = {
        place: end
        for place, end in ends.items()
        if place.topic == topics.changelog and topics.transfers not in committed.get(place.partition, {})
    }
    return Comparison(
        committed=committed,
        identities=identities,
        begins={(place.topic, place.partition): begin for place, begin in begins.items()},
        ends={(place.topic, place.partition): end for place, end in ends.items()},
        epoch_ends=epoch_ends,
        with_states=await _with_states(session.reader, forgotten),
        members=tuple(await cluster.group_subscriptions(settings.app_id)),
        registry=registry,
        evidence=await evidence_of(settings, session.reader, identities, known, range(count) if complete else ()),
    )


async def _epoch_ends(
    watch: TopicWatch, topics: Topics, committed: Mapping[int, Mapping[str, Committed]], identities: Identities
) -> dict[Place, int]:
    """Where the leader epochs that the group has noted end now, of topics that are those which were noted."""
    noted = {}
    for number, note in _notes_of(topics, committed, identities).items():
        for topic in committed[number]:
            life, found = note.topics.get(topic), identities.get(topic)
            if life is None or found is None or life.epoch < 0 or life.topic_id != found.topic_id:
                continue
            if number < found.partitions:
                noted[topic, number] = life.epoch
    return await watch.epoch_ends(noted) if noted else {}


async def _with_states(reader: Reader, ends: Offsets) -> frozenset[int]:
    """Partitions of the changelog that hold states, up to these offsets."""
    states: dict[int, set[int]] = {}
    async for records in reader.records({place: end for place, end in ends.items() if end}):
        for record in records:
            held = states.setdefault(record.partition, set())
            (held.discard if record.value is None else held.add)(hash(record.key))
    return frozenset(number for number, held in states.items() if held)
