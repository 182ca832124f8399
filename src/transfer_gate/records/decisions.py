"""The decision record: the evidence of one decision about one partner (contract section 5)."""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from transfer_gate.model.terms import Channel, Identifier, Instant, PartyId, Reason
from transfer_gate.records.ids import topic_name

#: Stands for the channels of a record that could not be read, in `quarantined` and in the header `tg-reasons`.
ANY_CHANNEL: Final = "*"


class DecisionPolicy(Struct, frozen=True, gc=False, kw_only=True):
    """Under which law, which reviewed files and which code a decision was taken."""

    jurisdiction: str
    revision: str
    gate_version: str


class SourcePlace(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Where the decided record stands; `topic_id` (KIP-516) only where the topic is not the first of its name."""

    topic: str
    partition: int
    offset: int
    topic_id: str | None = None

    @property
    def name(self) -> str:
        """The topic in names that are made of coordinates."""
        return topic_name(self.topic, self.topic_id)


class ConsentSeen(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What the decision knew of the prospect's consent.

    `offset` is the position in this partition of `consent-events`: every event below it was applied, none at or
    above it. `topic_id` (KIP-516) only where that topic is not the first of its name: the events of the former
    topics were applied before.
    """

    offset: int
    record_ids: tuple[str, ...]
    topic_id: str | None = None


class DecisionRecord(Struct, frozen=True, gc=False, kw_only=True):
    """The evidence of one decision about one partner; no contact data. Times are UTC.

    For an input record that could not be read, `event_id`, `prospect_id` and `partner_id` are null and
    `quarantined` has the one key `*`. `input_sha256` is the hash of the source's value. `rule_errors` names rules
    that raised.
    """

    decision_id: str
    decided_at: Instant
    source: SourcePlace
    event_id: Identifier | None
    prospect_id: Identifier | None
    partner_id: PartyId | None
    released: tuple[Channel, ...]
    quarantined: Mapping[str, tuple[Reason, ...]]
    consent: ConsentSeen
    policy: DecisionPolicy
    input_sha256: str
    attempt: int
    replay_run: str | None
    rule_errors: tuple[str, ...] = ()


_DECODER: Final = msgspec.json.Decoder(DecisionRecord)
encode_decision: Final = msgspec.json.Encoder().encode


def decode_decision(raw: bytes | None) -> DecisionRecord | None:
    """Read a decision record; None where it can't be read: only the gate should write there."""
    try:
        return _DECODER.decode(raw or b"")
    except msgspec.DecodeError:
        return None
