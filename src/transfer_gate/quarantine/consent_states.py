"""Consent states of prospects, and their sealing keys, as they are now: read from the topics, beside the gate.

The changelog has what the gate has applied; consent events behind its committed position are folded on top, so that a
plan decides by what the gate would decide by.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from transfer_gate.gate.integrity.commit_note import note_of
from transfer_gate.gate.round import as_event
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.coordinator import Committed
from transfer_gate.kafka.requests import TopicIds
from transfer_gate.kafka.session import Session
from transfer_gate.kafka.topic_watch import identities_of
from transfer_gate.model.state import EMPTY, ProspectState
from transfer_gate.records.consents import ConsentFold
from transfer_gate.records.partitioner import OWN_LIFE_AT, Placements
from transfer_gate.records.sealing import is_key_of_day
from transfer_gate.records.state import decode_state, encode_state, received_at

States = dict[tuple[int, bytes], ProspectState]
"""State by partition and record key; a state that is missing is empty."""

PackedStates = dict[int, dict[bytes, bytes]]
"""The same as bytes of the changelog, by partition: a third of the memory."""


async def states_of(session: Session, wanted: Mapping[int, AbstractSet[bytes]]) -> States:
    """States of the wanted keys of each partition, by every consent event acknowledged before the call.

    Reads the whole changelog of these partitions, and keeps what is wanted. Waits for open transactions on
    `consent-events`, as the gate does. Raises BrokerUnavailable.
    """
    packed = await packed_states_of(session, wanted)
    return {(partition, key): decode_state(raw) for partition, states in packed.items() for key, raw in states.items()}


async def packed_states_of(session: Session, wanted: Mapping[int, AbstractSet[bytes]]) -> PackedStates:
    """As `states_of`, for many prospects. Where the topics have grown, a state is taken from its key's partition."""
    if not any(wanted.values()):
        return {partition: {} for partition in wanted}
    settings, cluster = session.settings, session.cluster
    found = (await cluster.topics()).get(settings.topics.changelog)
    placements = await cluster.placements(settings, found.partitions if found else None)
    if not placements.grown:
        return await _states_in(session, wanted)
    count = found.partitions if found else 0
    at_home = await _states_in(session, dict.fromkeys(range(count), _AnyOf(wanted.values())))
    states: PackedStates = {partition: {} for partition in wanted}
    for home, of_home in at_home.items():
        for key, raw in of_home.items():
            for partition, keys in wanted.items():
                if key in keys and _home(placements, key, partition) == home:
                    states[partition][key] = raw
    return states


class _AnyOf(AbstractSet[bytes]):
    """The keys of some sets, which need not be iterable."""

    def __init__(self, sets: Iterable[AbstractSet[bytes]]) -> None:
        self._sets = tuple(sets)

    def __contains__(self, key: object) -> bool:
        return any(key in keys for keys in self._sets)

    def __iter__(self) -> Iterator[bytes]:
        raise TypeError("its sets may not be iterable")

    def __len__(self) -> int:
        return sum(map(len, self._sets))


def _home(placements: Placements, key: bytes, partition: int) -> int:
    home = None if is_key_of_day(key) else placements.now.home(key)
    return partition if home is None else home


async def _states_in(session: Session, wanted: Mapping[int, AbstractSet[bytes]]) -> PackedStates:
    settings, cluster, reader = session.settings, session.cluster, session.reader
    topics = settings.topics
    states: PackedStates = {partition: {} for partition in wanted}
    offsets = await cluster.group_offsets(settings.app_id)
    found = await cluster.topics()
    of_events = (topics.consents, topics.strays)
    counts = {name: found[name].partitions for name in (topics.changelog, *of_events) if name in found}
    begins, ends = await reader.bounds(counts, committed_only=False)
    async for records in reader.records(_of(ends, wanted, topics.changelog)):
        keep, kept = wanted[records[-1].partition], states[records[-1].partition]
        for record in records:
            if record.key in keep:
                if record.value is None:
                    kept.pop(record.key, None)
                else:
                    kept[record.key] = record.value
    events = _of(ends, wanted, *of_events)
    starts = {place: max(offsets[place].offset if place in offsets else 0, begins[place]) for place in events}
    behind = {place: end for place, end in events.items() if starts[place] < end}
    if behind:
        bases = await _bases(session, offsets)
        async for records in reader.records(behind, starts):
            number = records[-1].partition
            stray = records[-1].topic == topics.strays
            known = [as_event(record) for record in records] if stray else records
            consents = ConsentFold(settings.bounds, base=bases.get(number, 0))
            changing = _Wanted(states[number], wanted[number])
            for record in known:
                received = received_at(record.timestamp)
                consents.apply(changing, record.key, record.value, record.offset, received, record.headers)
            changing.pack()
    return states


async def _bases(session: Session, offsets: Mapping[tuple[str, int], Committed]) -> dict[int, int]:
    """By partition: what states add to the offsets of consent events, by the topics that stood under the name before
    (`gate.integrity.commit_note`), as for a worker that reads on from the offsets of the group.
    """
    consents = session.settings.topics.consents
    topic_id = identities_of(await session.cluster.send(TopicIds((consents,))))[consents].topic_id
    committed: dict[int, dict[str, Committed]] = {}
    for (topic, number), found in offsets.items():
        committed.setdefault(number, {})[topic] = found
    bases = {}
    for number, of_topics in committed.items():
        known = note_of(of_topics, consents, {consents: topic_id}).topics.get(consents)
        if known is not None:
            bases[number] = (known.number + (known.topic_id != topic_id)) << OWN_LIFE_AT
    return bases


def _of(
    ends: Mapping[TopicPartition, int], wanted: Mapping[int, AbstractSet[bytes]], *topics: str
) -> dict[TopicPartition, int]:
    """Ends of the partitions of these topics from which a state is wanted."""
    return {place: end for place, end in ends.items() if place.topic in topics and wanted.get(place.partition)}


class _Wanted:
    """The states of the wanted prospects of one partition: unpacked once for many events, then packed again."""

    def __init__(self, packed: dict[bytes, bytes], wanted: AbstractSet[bytes]) -> None:
        self._packed = packed
        self._wanted = wanted
        self._changed: dict[bytes, ProspectState] = {}

    def get(self, prospect: bytes, /) -> ProspectState:
        """See `States`."""
        if prospect in self._changed:
            return self._changed[prospect]
        return decode_state(self._packed.get(prospect)) if prospect in self._wanted else EMPTY

    def put(self, prospect: bytes, state: ProspectState, /) -> None:
        """See `States`."""
        if prospect in self._wanted:
            self._changed[prospect] = state

    def pack(self) -> None:
        """Write the states back."""
        self._packed.update({key: encode_state(state) for key, state in self._changed.items()})
