"""Bytes of `prospect-transfers` to model (contract section 2)."""

from typing import Final

import msgspec

from transfer_gate.model.transfer import Transfer
from transfer_gate.records.cloudevents import NotAnEnvelope, body_of, is_structured
from transfer_gate.records.forms import fault_in
from transfer_gate.records.headers import Headers
from transfer_gate.records.input_json import (
    NAMED_TWICE,
    UnreadableRecord,
    is_json,
    names_twice,
    quotes_of_transfer,
    reason_of,
    without_nulls,
)

_TRANSFER: Final = msgspec.json.Decoder(Transfer)


class Undecodable(UnreadableRecord):
    """Not JSON: reason `undecodable`."""


class SchemaInvalid(UnreadableRecord):
    """JSON, but not of the shape that the contract asks for: reason `schema-invalid`."""


def decode_transfer(raw: bytes | None, headers: Headers = ()) -> Transfer:
    """Read one record of `prospect-transfers`; in an envelope of CloudEvents where its headers declare one.

    Raises Undecodable when it is not JSON in UTF-8 or names a member twice, SchemaInvalid when it is not a transfer.
    """
    if raw is None:
        raise Undecodable("no value (tombstone)")
    if headers and is_structured(headers):
        try:
            raw = body_of(raw)
        except NotAnEnvelope as error:
            raise Undecodable(str(error)) from None
    try:
        if not raw.isascii():
            raw.decode()  # msgspec skips unknown fields without looking at their bytes
        transfer = _TRANSFER.decode(raw)
        if raw.count(b'"') != quotes_of_transfer(transfer) and names_twice(raw):
            raise Undecodable(NAMED_TWICE)
    except msgspec.ValidationError as error:
        # It stopped at the first field that did not fit, perhaps before the place where the JSON itself breaks off.
        if not is_json(raw):
            raise Undecodable("malformed JSON") from None
        transfer = _transfer_with_nulls(raw, str(error))
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise Undecodable(reason_of(error)) from None
    fault = fault_in(transfer)
    if fault is not None:
        raise SchemaInvalid(fault)
    return transfer


def _transfer_with_nulls(raw: bytes, fault: str) -> Transfer:
    """Read again what did not fit as it stands: a null member is absent. `fault` is what did not fit."""
    try:
        if names_twice(raw):
            raise Undecodable(NAMED_TWICE)
        if b"null" not in raw:
            raise SchemaInvalid(fault)
        return msgspec.convert(without_nulls(msgspec.json.decode(raw)), Transfer)
    except msgspec.ValidationError as error:
        raise SchemaInvalid(str(error)) from None
    except (msgspec.DecodeError, RecursionError, MemoryError, ValueError) as error:
        raise Undecodable(reason_of(error)) from None
