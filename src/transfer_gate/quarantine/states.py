"""The consent states of some prospects as they are now, and their keys: read beside the gate, without asking it.

The changelog holds what the gate has applied; consent events behind its committed position are folded on top, so a
plan sees what a decision would see.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from aiokafka import TopicPartition

from transfer_gate.admin.cluster import open_cluster
from transfer_gate.admin.reading import bounds, committed_records
from transfer_gate.model.consent import Erasure
from transfer_gate.model.state import EMPTY, ProspectState
from transfer_gate.policy.fold import fold, fold_unreadable, without_key
from transfer_gate.settings import Settings
from transfer_gate.stream.clients import broker_errors
from transfer_gate.wire.decode import Unreadable, decode_consent
from transfer_gate.wire.state import decode_state

States = dict[tuple[int, bytes], ProspectState]
"""State by partition and record key; what is not there is empty."""


async def states_of(settings: Settings, wanted: Mapping[int, AbstractSet[bytes]]) -> States:
    """States of the wanted keys of each partition, by every consent event acknowledged before the call.

    Reads the whole changelog of these partitions, and keeps what is wanted. Waits for open transactions on
    `consent-events`, as the gate does. Raises BrokerUnavailable.
    """
    topics = settings.topics
    states: States = {}
    async with open_cluster(settings) as cluster, broker_errors(settings):
        committed = await cluster.committed(settings.app_id)
        count = (await cluster.topics())[topics.changelog].partitions
        begins, ends = await bounds(settings, {topics.changelog: count, topics.consents: count}, committed_only=False)
        changelog = {place: end for place, end in ends.items() if place.topic == topics.changelog}
        async for records in committed_records(settings, _of(changelog, wanted)):
            keep = wanted[records[-1].partition]
            for record in records:
                if record.key in keep:
                    states[record.partition, record.key] = decode_state(record.value)
        consents = {place: end for place, end in ends.items() if place.topic == topics.consents}
        starts = {place: max(committed.get(place, 0), begins[place]) for place in consents}
        behind = {place: end for place, end in _of(consents, wanted).items() if starts[place] < end}
        if behind:
            async for records in committed_records(settings, behind, {place: starts[place] for place in behind}):
                for record in records:
                    if record.key in wanted[record.partition]:
                        _apply(states, record.partition, record.key, record.value, record.offset)
    return states


def _of(ends: Mapping[TopicPartition, int], wanted: Mapping[int, AbstractSet[bytes]]) -> dict[TopicPartition, int]:
    return {place: end for place, end in ends.items() if wanted.get(place.partition)}


def _apply(states: States, partition: int, key: bytes, value: bytes | None, offset: int) -> None:
    state = states.get((partition, key), EMPTY)
    try:
        event = decode_consent(value, key)
    except Unreadable:
        states[partition, key] = fold_unreadable(state, offset)
        return
    folded = fold(state, event, offset)
    states[partition, key] = without_key(folded) if isinstance(event, Erasure) else folded
