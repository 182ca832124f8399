"""Bytes of the input topics to model (contract sections 2 and 3).

JSON per RFC 8259, UTF-8 only. Exceptions name places; of a wrong word of a closed list msgspec quotes the word, which
helps who wrote a case file, and which nobody else should be shown: see `without_values`.
"""

import re
from typing import Final

import msgspec
import orjson

from transfer_gate.model.consent import ConsentEvent
from transfer_gate.model.transfer import Transfer
from transfer_gate.wire.forms import fault_in

_TRANSFER: Final = msgspec.json.Decoder(Transfer)
_CONSENT: Final = msgspec.json.Decoder[ConsentEvent](ConsentEvent)


class UnreadableRecord(Exception):
    """An input record that can't be read; the text says where."""


class Undecodable(UnreadableRecord):
    """Not JSON: reason `undecodable`."""


class SchemaInvalid(UnreadableRecord):
    """JSON, but not of the shape that the contract asks for: reason `schema-invalid`."""


class Unreadable(UnreadableRecord):
    """A consent event that can't be read and might have been a withdrawal: reason `consent-unreadable`."""


def decode_transfer(raw: bytes | None) -> Transfer:
    """Read one record of `prospect-transfers`.

    Raises Undecodable when it is not JSON in UTF-8, SchemaInvalid when it is not a transfer.
    """
    if raw is None:
        raise Undecodable("no value (tombstone)")
    try:
        if not raw.isascii():
            raw.decode()  # msgspec skips unknown fields without looking at their bytes
        transfer = _TRANSFER.decode(raw)
    except msgspec.ValidationError as error:
        # It stopped at the first field that did not fit, perhaps before the place where the JSON itself breaks off.
        raise (SchemaInvalid(str(error)) if _is_json(raw) else Undecodable("malformed JSON")) from None
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise Undecodable(_told(error)) from None
    fault = fault_in(transfer)
    if fault is not None:
        raise SchemaInvalid(fault)
    return transfer


def decode_consent(raw: bytes | None, key: bytes | None) -> ConsentEvent:
    """Read one record of `consent-events` whose record key is `key`.

    Raises Unreadable when it is not JSON, not a consent event, or not about the prospect that its key names.
    """
    if raw is None:
        raise Unreadable("no value (tombstone)")
    try:
        if not raw.isascii():
            raw.decode()
        event: ConsentEvent = _CONSENT.decode(raw)
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise Unreadable(_told(error)) from None
    if key is None or event.prospect_id.encode() != key:
        raise Unreadable("prospect_id is not the record's key")
    return event


def without_values(text: str) -> str:
    """What an UnreadableRecord says, without the word that it may quote: an input may hold personal data."""
    said, at, place = text.rpartition(" - at ")
    kind = re.split(r"['\"]", said or place, maxsplit=1)[0].rstrip()
    return f"{kind}{at}{place}" if said else kind


def _is_json(raw: bytes) -> bool:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return True


def _told(error: Exception) -> str:
    return str(error) if type(error) in (msgspec.ValidationError, msgspec.DecodeError) else type(error).__name__
