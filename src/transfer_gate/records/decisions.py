"""What the gate writes: the record a partner gets, and the decision record that explains it (contract section 5)."""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from transfer_gate.model.decision import Obligations
from transfer_gate.model.reasons import Reason
from transfer_gate.model.terms import Channel, Identifier, Instant, PartyId, Token
from transfer_gate.model.transfer import AttributeValue, Contact
from transfer_gate.records.ids import topic_name

#: Stands for the channels of a record that could not be read, in `quarantined` and in the header `tg-reasons`.
ANY_CHANNEL: Final = "*"


class PolicyStamp(Struct, frozen=True, gc=False, kw_only=True):
    """Under which law and which reviewed files a record was released."""

    jurisdiction: str
    revision: str


class DecisionPolicy(Struct, frozen=True, gc=False, kw_only=True):
    """Under which law, which reviewed files and which code a decision was taken."""

    jurisdiction: str
    revision: str
    gate_version: str


class ReleasedRecord(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """What a partner gets, and nothing more. Times are UTC."""

    transfer_id: str
    decision_id: str
    event_id: Identifier
    partner_id: PartyId
    prospect_id: Identifier
    released_at: Instant
    purpose: Token
    offer_category: Token | None
    channels: tuple[Channel, ...]
    contact: Contact
    attributes: dict[str, AttributeValue]
    obligations: Obligations
    policy: PolicyStamp


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
    above it. `topic_id` (KIP-516) only where that topic is not the first of its name: what the former ones said was
    applied before.
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


class Reference(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """In place of a value (header `tg-reference`): where the record stands that it is, and what it is.

    `size` and `sha256` are those of the source's value. `last_offset`: bytes that can't be had stand from `offset` to
    here; their `size` and `sha256` are then those of the batch as it is stored. `key_size`, `key_sha256`: the key is
    left out, too. `headers_left_out`: so are the source's headers. `topic_id`: which life of the topic.
    """

    topic: str
    partition: int
    offset: int
    size: int
    sha256: str
    topic_id: str | None = None
    last_offset: int | None = None
    key_size: int | None = None
    key_sha256: str | None = None
    headers_left_out: bool = False


class RawHeader(Struct, frozen=True, gc=False):
    """A header with any bytes for a name; msgspec writes bytes as base64."""

    name: bytes
    value: bytes | None


_ENCODER: Final = msgspec.json.Encoder()
encode = _ENCODER.encode
