"""The consent table twice: as the changelog holds it, and as the consent events themselves add up."""

from tests.support.clients import read_all
from tests.support.workers import Installation
from transfer_gate.model.state import EMPTY, ProspectState
from transfer_gate.policy.fold import fold, fold_unreadable
from transfer_gate.records.consents import Unreadable, decode_consent
from transfer_gate.records.state import encode_state, prospect_of, received_at

#: Partition and key of a prospect to the bytes of its state.
States = dict[tuple[int, bytes], bytes]


async def states_of_changelog(place: Installation) -> States:
    """The last committed state of every prospect."""
    states: States = {}
    async for record in read_all(place.bootstrap_servers, [place.topics.changelog], place.partitions):
        assert record.key is not None
        if (
            record.value is not None and prospect_of(record.key) is None
        ):  # nothing was left of a state, or it is what a first round leaves
            states[record.partition, record.key] = record.value
    return states


async def states_of_events(place: Installation) -> States:
    """All committed consent events, folded in the order of their offsets."""
    states: dict[tuple[int, bytes], ProspectState] = {}
    async for record in read_all(place.bootstrap_servers, [place.topics.consents], place.partitions):
        if record.key is None:
            continue  # can't be read, and ties to nobody
        who = record.partition, record.key
        before = states.get(who, EMPTY)
        try:
            event = decode_consent(record.value, record.key)
        except Unreadable:
            states[who] = fold_unreadable(before, record.offset)
        else:
            states[who] = fold(before, event, record.offset, received_at(record.timestamp))
    return {who: encode_state(state) for who, state in states.items()}
