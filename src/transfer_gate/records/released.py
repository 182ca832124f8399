"""The record that a partner gets (contract section 5)."""

from typing import Final

import msgspec
from msgspec import Struct

from transfer_gate.model.decision import Obligations
from transfer_gate.model.terms import Channel, Identifier, Instant, PartyId, Token
from transfer_gate.model.transfer import AttributeValue, Contact
from transfer_gate.records import headers as names
from transfer_gate.records.headers import Header


class PolicyStamp(Struct, frozen=True, gc=False, kw_only=True):
    """Under which law and which reviewed files a record was released."""

    jurisdiction: str
    revision: str


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


#: Headers of a record on a partner's topic.
HEADERS: Final = (
    Header(names.TRANSFER_ID, "UUIDv5 of the event and the partner: equal in every attempt."),
    Header(names.DECISION_ID, "Decision record that explains the release."),
    Header(names.CONTENT_TYPE, "application/json"),
)

_DECODER: Final = msgspec.json.Decoder(ReleasedRecord)
encode_released: Final = msgspec.json.Encoder().encode


def decode_released(raw: bytes | None) -> ReleasedRecord | None:
    """Read a released record; None when it is not of that closed shape."""
    try:
        return _DECODER.decode(raw or b"")
    except msgspec.DecodeError:
        return None
