"""The parts of a decision record, and of what stands beside it, that an audit rests on."""

import datetime as dt
from typing import Any, Final

import msgspec
from msgspec import Struct

from transfer_gate.kafka.types import ConsumerRecord
from transfer_gate.model.terms import Instant
from transfer_gate.records.decisions import DecisionPolicy, SourcePlace
from transfer_gate.records.released import ReleasedRecord


class ConsentSeen(Struct, frozen=True):
    """See wire.records.ConsentSeen."""

    offset: int
    topic_id: str | None = None


class Decision(Struct, frozen=True, kw_only=True):
    """The part of a decision record that explains a released record; other fields may come and go."""

    decision_id: str
    decided_at: Instant
    source: SourcePlace
    event_id: str | None
    prospect_id: str | None
    partner_id: str | None
    released: tuple[str, ...]
    quarantined: dict[str, Any]
    consent: ConsentSeen
    policy: DecisionPolicy
    input_sha256: str
    attempt: int


class Decided(Struct, frozen=True):
    """A decision that released something, and its offset in `transfer-decisions`."""

    offset: int
    decision: Decision


class Released(Struct, frozen=True):
    """A record of a partner's topic: as it stands there, and as it reads."""

    record: ConsumerRecord
    body: ReleasedRecord
    #: Decisions below this offset of `transfer-decisions` were written before this record could be read.
    decided_below: int


_DECISION: Final = msgspec.json.Decoder(Decision)
_RELEASED: Final = msgspec.json.Decoder(ReleasedRecord)


def decision_of(record: ConsumerRecord) -> Decided | None:
    """A decision that released something; None for any other, and for what is no decision: it explains nothing."""
    try:
        decision = _DECISION.decode(record.value or b"")
    except msgspec.DecodeError:
        return None
    return Decided(record.offset, decision) if decision.released else None


def released_record(value: bytes | None) -> ReleasedRecord | None:
    """What a partner got; None when it is not of that closed shape."""
    try:
        return _RELEASED.decode(value or b"")
    except msgspec.DecodeError:
        return None


def milliseconds(time: dt.datetime) -> int:
    """Since the epoch, rounded down, as Kafka counts."""
    return int(time.timestamp() * 1000)
