"""What is written in place of an event that could not be mapped: a record of `consent-events` that nobody can read.

An unreadable event might have been a withdrawal, so the gate blocks its prospect and copies the record to quarantine
(contract section 3). One whose prospect is not known has no key: it stands in quarantine, and a metric counts it.
"""

import base64
import datetime as dt
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Struct

from transfer_gate.records.ids import imported_id

#: No type of consent event: whatever the body holds, the record stays unreadable.
TYPE: Final = "unmapped"
_encode: Final = msgspec.json.Encoder().encode


class Unmapped(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag=TYPE):
    """An event that could not be mapped, with what its platform sent.

    `item` counts the entries of the list of events from 0; `body` is what was sent, or that entry of it; it is in
    base64 where it is no text. `sha256` is that of the whole body.
    """

    event_id: str
    source: str
    reason: str
    received_at: dt.datetime
    sha256: str
    prospect_id: str | None = None
    item: int | None = None
    body: str | None = None
    body_base64: str | None = None


class UnmappedRecord(Struct, frozen=True):
    """A record of an unmapped event; `key` is None where its prospect is not known. `reason` repeats nothing of it."""

    key: bytes | None
    value: bytes
    event_id: str
    reason: str


def unmapped(
    source: str,
    reason: str,
    body: bytes,
    received_at: dt.datetime,
    *,
    prospect_id: str | None = None,
    item: int | None = None,
    part: bytes | None = None,
) -> UnmappedRecord:
    """The record of an event that could not be mapped; `part` is what is kept of a body that holds several."""
    digest = sha256(body).hexdigest()
    made_of = _encode([digest, item, prospect_id]).decode()
    event_id = imported_id(source, TYPE, made_of)
    event = Unmapped(
        event_id=event_id,
        source=source,
        reason=reason,
        received_at=received_at,
        sha256=digest,
        prospect_id=prospect_id,
        item=item,
        **_kept(body if part is None else part),
    )
    key = None if prospect_id is None else prospect_id.encode()
    return UnmappedRecord(key, _encode(event), event_id, reason)


def _kept(body: bytes) -> dict[str, str]:
    """As text where it is text that JSON does not make much longer than base64 would."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = None
    if text is not None and len(_encode(text)) <= len(body) * 4 // 3 + 4:
        return {"body": text}
    return {"body_base64": base64.b64encode(body).decode()}
