"""The consent states of some prospects as they are now, and their keys: read beside the gate, without asking it.

The changelog holds what the gate has applied; consent events behind its committed position are folded on top, so a
plan sees what a decision would see.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from aiokafka import ConsumerRecord, TopicPartition

from transfer_gate.admin.cluster import open_cluster
from transfer_gate.admin.reading import bounds, committed_records
from transfer_gate.model.state import Bounds, ProspectState
from transfer_gate.policy.fold import erases, fold, fold_unreadable, without_key
from transfer_gate.settings import Settings
from transfer_gate.stream.clients import broker_errors
from transfer_gate.wire.decode import Unreadable, decode_consent
from transfer_gate.wire.placements import Placements
from transfer_gate.wire.sealing import is_key_of_day
from transfer_gate.wire.state import decode_state, encode_state, received_at

States = dict[tuple[int, bytes], ProspectState]
"""State by partition and record key; what is not there is empty."""

PackedStates = dict[int, dict[bytes, bytes]]
"""The same as the changelog holds it, by partition: a third of the memory."""


async def states_of(settings: Settings, wanted: Mapping[int, AbstractSet[bytes]]) -> States:
    """States of the wanted keys of each partition, by every consent event acknowledged before the call.

    Reads the whole changelog of these partitions, and keeps what is wanted. Waits for open transactions on
    `consent-events`, as the gate does. Raises BrokerUnavailable.
    """
    packed = await packed_states_of(settings, wanted)
    return {(partition, key): decode_state(raw) for partition, states in packed.items() for key, raw in states.items()}


async def packed_states_of(settings: Settings, wanted: Mapping[int, AbstractSet[bytes]]) -> PackedStates:
    """As `states_of`, for many prospects. Where the topics have grown, a state is taken from its key's partition."""
    if not any(wanted.values()):
        return {partition: {} for partition in wanted}
    async with open_cluster(settings) as cluster:
        found = (await cluster.topics()).get(settings.topics.changelog)
        placements = await cluster.placements(settings, found.partitions if found else None)
    if not placements.grown:
        return await _states_in(settings, wanted)
    homes: dict[int, set[bytes]] = {}
    for partition, keys in wanted.items():
        for key in keys:
            homes.setdefault(_home(placements, key, partition), set()).add(key)
    at_home = await _states_in(settings, homes)
    return {
        partition: {
            key: raw for key in keys if (raw := at_home[_home(placements, key, partition)].get(key)) is not None
        }
        for partition, keys in wanted.items()
    }


def _home(placements: Placements, key: bytes, partition: int) -> int:
    home = None if is_key_of_day(key) else placements.now.home(key)
    return partition if home is None else home


async def _states_in(settings: Settings, wanted: Mapping[int, AbstractSet[bytes]]) -> PackedStates:
    topics = settings.topics
    states: PackedStates = {partition: {} for partition in wanted}
    async with open_cluster(settings) as cluster, broker_errors(settings):
        committed = await cluster.committed(settings.app_id)
        count = (await cluster.topics())[topics.changelog].partitions
        begins, ends = await bounds(settings, {topics.changelog: count, topics.consents: count}, committed_only=False)
        changelog = {place: end for place, end in ends.items() if place.topic == topics.changelog}
        async for records in committed_records(settings, _of(changelog, wanted)):
            keep, kept = wanted[records[-1].partition], states[records[-1].partition]
            for record in records:
                if record.key in keep:
                    if record.value is None:
                        kept.pop(record.key, None)
                    else:
                        kept[record.key] = record.value
        consents = {place: end for place, end in ends.items() if place.topic == topics.consents}
        starts = {place: max(committed.get(place, 0), begins[place]) for place in consents}
        behind = {place: end for place, end in _of(consents, wanted).items() if starts[place] < end}
        if behind:
            async for records in committed_records(settings, behind, {place: starts[place] for place in behind}):
                _apply(states[records[-1].partition], wanted[records[-1].partition], records, settings.bounds)
    return states


def _of(ends: Mapping[TopicPartition, int], wanted: Mapping[int, AbstractSet[bytes]]) -> dict[TopicPartition, int]:
    return {place: end for place, end in ends.items() if wanted.get(place.partition)}


def _apply(
    packed: dict[bytes, bytes], wanted: AbstractSet[bytes], records: Sequence[ConsumerRecord], most: Bounds
) -> None:
    """Fold some events of one partition; a state is unpacked once for all of them."""
    states: dict[bytes, ProspectState] = {}
    for record in records:
        key = record.key
        if key in wanted:
            before = states[key] if key in states else decode_state(packed.get(key))
            states[key] = _folded(before, key, record, most)
    packed.update({key: encode_state(state) for key, state in states.items()})


def _folded(state: ProspectState, key: bytes, record: ConsumerRecord, most: Bounds) -> ProspectState:
    try:
        event = decode_consent(record.value, key)
    except Unreadable:
        return fold_unreadable(state, record.offset, most)
    after = fold(state, event, record.offset, received_at(record.timestamp), most)
    return without_key(after) if erases(state, after) else after
