"""What an installation is before it grows: its counts, what its commits noted, and why it may not grow now."""

from collections.abc import Mapping

from msgspec import Struct

from transfer_gate.errors import InvalidInput, NothingMatched, RefusedByGuard
from transfer_gate.gate.integrity.commit_note import read_note
from transfer_gate.gate.integrity.offsets import HistoryNotHome, require_history_home
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.cluster import Cluster
from transfer_gate.kafka.coordinator import Committed
from transfer_gate.kafka.reader import Offsets
from transfer_gate.kafka.requests import TopicIds
from transfer_gate.kafka.session import Session
from transfer_gate.kafka.topic_watch import identities_of
from transfer_gate.kafka.topics import Survey, survey
from transfer_gate.model.registry import Registry
from transfer_gate.settings import Settings

Place = tuple[str, int]
"""Topic and partition."""


class Before(Struct, frozen=True, kw_only=True):
    """An installation that may grow to `partitions`.

    - `counts`: partition counts of the topics that share one.
    - `decided_under`: the count under which the gate has decided, where it is not `partitions`; None where it never
      decided, or everything is noted under the new count already.
    - `grown_by_hand`: the inputs have more partitions than that, so records may stand in their new places already.
    - `undecided`: offsets of transfers and replays that were not decided.
    """

    partitions: int
    counts: Mapping[str, int]
    decided_under: int | None
    grown_by_hand: bool
    undecided: int


async def look_before(session: Session, registry: Registry, partitions: int) -> Before:
    """What is there. Raises InvalidInput for a count that is too low and for missing topics, NothingMatched when
    everything has that count, RefusedByGuard while the gate works or has not decided all that stands in its inputs.
    """
    settings, cluster = session.settings, session.cluster
    seen = await survey(cluster, settings, registry)
    counts = _counts(seen)
    largest = max(counts.values())
    if partitions < largest:
        raise InvalidInput(
            f"a topic has {largest} partitions already, and Kafka takes none away", do=f"give at least {largest}"
        )
    await _require_no_member(settings, cluster)
    commits = await cluster.group_offsets(settings.app_id)
    inputs = settings.topics.inputs()
    committed = _by_partition(commits, inputs)
    notes = [note for offsets in committed.values() for found in offsets.values() if (note := read_note(found))]
    noted = {note.partitions for note in notes if note.partitions} - {partitions}
    if len(noted) > 1:
        listed = " and ".join(map(str, sorted(noted)))
        raise RefusedByGuard(
            f"the gate has decided under {listed} partitions: another `topics grow` did not end",
            do=f"let it end first: transfer-gate topics grow --partitions {largest}",
        )
    under = noted.pop() if noted else None
    if under is None and largest < partitions and notes:
        under = largest
    if under is not None and under > partitions:
        raise InvalidInput(f"the gate has decided under {under} partitions", do=f"give at least {under}")
    everywhere = under is None and min(counts.values()) == partitions
    if everywhere and await _history_home(session, committed, partitions):
        raise NothingMatched(f"every topic has {partitions} partitions, and everything is in its place")
    by_hand = under is not None and max(counts[topic] for topic in inputs) > under
    begins, ends = await session.reader.bounds({topic: counts[topic] for topic in inputs}, committed_only=False)
    left = _left(commits, begins, ends)
    if not by_hand and under is not None and left:
        raise RefusedByGuard(
            f"the gate has not taken in all that stands in its inputs: {_listed(left)}. Transfers that are not decided "
            "would stand in another partition than their key's, and be quarantined",
            do="stop the producers, wait until the workers have decided everything, stop the workers, run this again",
        )
    decided = (settings.topics.transfers, settings.topics.replay)
    return Before(
        partitions=partitions,
        counts=counts,
        decided_under=under,
        grown_by_hand=by_hand,
        undecided=sum(count for place, count in left.items() if place.topic in decided),
    )


def _counts(seen: Survey) -> dict[str, int]:
    missing = [spec.name for spec in seen.missing() if spec.shares_count]
    if missing:
        raise InvalidInput(f"missing topics: {', '.join(missing)}", do="run: transfer-gate topics apply")
    return {spec.name: seen.found[spec.name].partitions for spec in seen.specs if spec.shares_count}


async def _require_no_member(settings: Settings, cluster: Cluster) -> None:
    members = await cluster.group_members(settings.app_id)
    if members:
        raise RefusedByGuard(
            f"the group {settings.app_id} has {members} members: a worker decides under the count that it started with",
            do="stop all workers; one that was killed leaves the group after TRANSFER_GATE_SESSION_TIMEOUT_SECONDS",
        )


def _by_partition(commits: Mapping[Place, Committed], inputs: tuple[str, ...]) -> dict[int, dict[str, Committed]]:
    found: dict[int, dict[str, Committed]] = {}
    for (topic, number), commit in commits.items():
        if topic in inputs:
            found.setdefault(number, {})[topic] = commit
    return found


async def _history_home(session: Session, committed: Mapping[int, Mapping[str, Committed]], partitions: int) -> bool:
    """Whether events that were placed under an earlier count are applied."""
    consents = session.settings.topics.consents
    found = identities_of(await session.cluster.send(TopicIds((consents,))))[consents].topic_id
    try:
        require_history_home(consents, committed, found, partitions)
    except HistoryNotHome:
        return False
    return True


def _left(commits: Mapping[Place, Committed], begins: Offsets, ends: Offsets) -> dict[TopicPartition, int]:
    """By partition, how many offsets the group has before it."""
    left = {}
    for place, end in ends.items():
        reached = commits.get((place.topic, place.partition), Committed(begins[place], "")).offset
        if reached < end:
            left[place] = end - reached
    return left


def _listed(left: Mapping[TopicPartition, int]) -> str:
    topics: dict[str, int] = {}
    for place, count in left.items():
        topics[place.topic] = topics.get(place.topic, 0) + count
    return ", ".join(f"{count:,} offsets of {topic}" for topic, count in sorted(topics.items()))
