"""Decide an old record again, as the gate does, on one state at one time; nothing is written.

`quarantine explain`, `policy explain --decision` and the auditor do so. A forecast of a replay, which is about many
records and about what becomes of each, takes whole rounds (`replay.planning`).
"""

import datetime as dt
from collections.abc import Mapping

from msgspec import Struct

from transfer_gate.gate.attempt import RecordDecision
from transfer_gate.gate.decider import Decider, Only
from transfer_gate.gate.inbox import Record
from transfer_gate.gate.overlay import Overlay
from transfer_gate.gate.table import MemorySlice
from transfer_gate.kafka import ConsumerRecord
from transfer_gate.model.registry import Registry
from transfer_gate.model.state import ProspectState
from transfer_gate.policy.explain import Explanation, explain
from transfer_gate.records.decisions import ANY_CHANNEL
from transfer_gate.records.partitioner import ANYWHERE
from transfer_gate.records.quarantined import Quarantined


class Redecision(Struct, frozen=True, kw_only=True):
    """A decision of now. `reasons`: channel to reasons where it is quarantined before any rule is evaluated, with
    the one key `*` when it can't be read; otherwise `explanations`, one a partner.
    """

    reasons: Mapping[str, tuple[str, ...]] = {}
    explanations: tuple[Explanation, ...] = ()


def decide_again(
    source: Record, only: Only | None, state: ProspectState, registry: Registry, at: dt.datetime
) -> RecordDecision:
    """What is decided about an input record at `at` (UTC), on the `state` of the prospect that its key names; `only` of
    one partner and some channels.
    """
    states = Overlay(MemorySlice())
    if source.key is not None:
        states.put(source.key, state)
    return Decider(registry, ANYWHERE, states, at, source.partition).decide(source, only)


def explain_again(
    source: Record, only: Only | None, state: ProspectState, registry: Registry, at: dt.datetime
) -> Redecision:
    """The same, rule by rule."""
    decided = decide_again(source, only, state, registry, at)
    if decided.transfer is None:
        return Redecision(reasons={ANY_CHANNEL: (decided.reason,)})
    if decided.stage != "policy":
        (first, *_) = decided.decisions
        return Redecision(reasons={str(channel): reasons for channel, reasons in first.quarantined.items()})
    return Redecision(explanations=explain(decided.transfer, state, registry, at))


def only_of(held: Quarantined) -> Only | None:
    """The part of a transfer that a quarantine record is about; None: all, as it could not be read."""
    return Only(held.partner_id, held.channels) if held.partner_id is not None else None


def source_record(held: Quarantined, key: bytes | None, value: bytes | None) -> Record:
    """The record as it came in at first, of the headers of its quarantine record, and its key and payload."""
    place = held.source
    return ConsumerRecord(
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
        timestamp=held.source_timestamp_ms,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=tuple(held.inbound),
    )
