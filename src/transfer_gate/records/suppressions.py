"""What a partner must stop using, as of now, and what it did about that: the records of its suppression topic, and of
its acknowledgements (contract section 5a).
"""

import datetime as dt
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from transfer_gate.model.served import Cause, ServedParty
from transfer_gate.model.terms import CHANNELS, Channel, Identifier, Instant, PartyId, Token
from transfer_gate.policy.recall import newest_stop, stops_of
from transfer_gate.records import headers as names
from transfer_gate.records.headers import Header
from transfer_gate.records.ids import notice_id


class Stopped(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What must not be used any more. An erasure asks for what was released before `since`, and for `transfer_ids`, to
    be erased; it names no purposes, and channels only where a later release lifted the others.
    """

    cause: Cause
    since: Instant
    channels: tuple[Channel, ...] = ()
    purposes: tuple[Token, ...] = ()


class SuppressionRecord(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """The whole stop state of a party for a person; with nothing `stopped`, everything is lifted.

    `transfer_ids` are the newest transfers of the person to the party that this is about; `due_at` is when what this
    record adds must be applied, null where the party has no `sla_hours`, or nothing is added. Of one person, the record
    with the greatest `version` holds. A `notice_id` that was seen before is a repetition.
    """

    notice_id: str
    prospect_id: Identifier
    party_id: PartyId
    transfer_ids: tuple[str, ...]
    stopped: tuple[Stopped, ...]
    due_at: Instant | None
    version: int


#: Headers of a record on a partner's suppression topic.
HEADERS: Final = (Header(names.CONTENT_TYPE, "application/json"),)
#: The same, as they are written.
WRITTEN_HEADERS: Final[names.Headers] = ((names.CONTENT_TYPE, b"application/json"),)

_DECODER: Final = msgspec.json.Decoder(SuppressionRecord)
encode_suppression: Final = msgspec.json.Encoder().encode


def suppression_of(
    prospect_id: str, party_id: str, before: ServedParty, after: ServedParty, sla_hours: int | None
) -> SuppressionRecord:
    """The record that brings a party from one stop state to the next; the same states give the same record."""
    erased = after.erased
    newest = newest_stop(before, after) or (erased.since if erased is not None else None)
    record = SuppressionRecord(
        notice_id="",
        prospect_id=prospect_id,
        party_id=party_id,
        transfer_ids=(
            *(erased.transfer_ids if erased is not None else ()),
            *(after.transfer_ids if stops_of(after) or erased is None else ()),
        ),
        stopped=_stopped(after),
        due_at=None if newest is None or sla_hours is None else newest + dt.timedelta(hours=sla_hours),
        version=after.version,
    )
    return msgspec.structs.replace(record, notice_id=notice_id(encode_suppression(record)))


def _stopped(party: ServedParty) -> tuple[Stopped, ...]:
    found: list[Stopped] = []
    if party.erased is not None and (left := tuple(each for each in CHANNELS if each not in party.usable)):
        channels = left if party.usable else ()
        found.append(Stopped(cause="erasure", since=party.erased.since, channels=channels))
    for stop, purpose, channels in stops_of(party):
        last = found[-1] if found else None
        if last is not None and (last.cause, last.since, last.channels) == (stop.cause, stop.since, channels):
            found[-1] = msgspec.structs.replace(last, purposes=(*last.purposes, purpose))
        else:
            found.append(Stopped(cause=stop.cause, since=stop.since, channels=channels, purposes=(purpose,)))
    return tuple(found)


def decode_suppression(raw: bytes | None) -> SuppressionRecord | None:
    """Read a record of a suppression topic; None when it is not of that closed shape, or a tombstone."""
    try:
        return _DECODER.decode(raw or b"")
    except msgspec.DecodeError:
        return None


AcknowledgedState = Literal["received", "applied", "unknown", "refused"]


class Acknowledgement(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """`received`: it will be applied; `applied`: done; `unknown`: the partner does not have the person; `refused`: with
    the reason in `detail`. Its key is the `prospect_id` of the notice.
    """

    notice_id: Annotated[str, Meta(min_length=1, max_length=128)]
    state: AcknowledgedState
    at: Instant
    detail: Annotated[str, Meta(max_length=1000)] | None = None


_ACKNOWLEDGEMENT: Final = msgspec.json.Decoder(Acknowledgement)


def decode_acknowledgement(raw: bytes | None) -> Acknowledgement | None:
    """Read an acknowledgement; None when it can't be read."""
    try:
        return _ACKNOWLEDGEMENT.decode(raw or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
