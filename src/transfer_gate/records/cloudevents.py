"""CloudEvents 1.0 on the input topics (https://github.com/cloudevents/spec, Kafka protocol binding).

- *Structured* mode: the header `content-type` is `application/cloudevents+json`, the value is an envelope, and the
  record of the contract is its `data` (or `data_base64`). Quarantine and evidence keep the envelope as it came.
- *Binary* mode: attributes are headers `ce_…` and the value is the record itself: nothing is to be done.
"""

import base64
import binascii
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from transfer_gate.records.headers import CONTENT_TYPE, Headers
from transfer_gate.records.input_json import NAMED_TWICE, UnreadableRecord, names_twice

STRUCTURED: Final = b"application/cloudevents+json"
#: Headers that declare it, for an envelope that comes without headers: from a file.
AS_STRUCTURED: Final[Headers] = ((CONTENT_TYPE, STRUCTURED),)
_VERSION: Final = "1.0"
_JSON: Final = "application/json"


class NotAnEnvelope(UnreadableRecord):
    """The headers declare a CloudEvents envelope, and the value is not one, or holds no JSON; the text says why."""


class _Envelope(Struct, frozen=True):
    specversion: str
    id: str
    source: str
    type: str
    datacontenttype: str | None = None
    data: Raw | UnsetType = UNSET
    data_base64: str | UnsetType = UNSET


class _Body(Struct, frozen=True):
    event_id: Any | UnsetType = UNSET


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_BODY: Final = msgspec.json.Decoder(_Body)


def is_structured(headers: Headers) -> bool:
    """Whether a record's headers declare that its value is an envelope."""
    for name, value in headers:
        if name == CONTENT_TYPE and value is not None and value.partition(b";")[0].strip().lower() == STRUCTURED:
            return True
    return False


def looks_structured(raw: bytes) -> bool:
    """Whether bytes without headers are an envelope: a JSON object with `specversion` and data."""
    try:
        found = msgspec.json.decode(raw)
    except (ValueError, RecursionError, MemoryError):
        return False
    return isinstance(found, dict) and "specversion" in found and ("data" in found or "data_base64" in found)


def plain_value(raw: bytes | None, headers: Headers) -> bytes | None:
    """The record without its envelope, where it has one; no bytes, which are unreadable, for one that is wrong."""
    if raw is None or not headers or not is_structured(headers):
        return raw
    try:
        return body_of(raw)
    except NotAnEnvelope:
        return b""


def body_of(raw: bytes) -> bytes:
    """The record that an envelope holds, with its id as `event_id` where the record has none.

    Raises NotAnEnvelope.
    """
    try:
        raw.decode()
        envelope = _ENVELOPE.decode(raw)
        twice = names_twice(raw)
    except (ValueError, RecursionError, MemoryError):  # msgspec's errors are ValueErrors, and so are those of UTF-8
        raise NotAnEnvelope("not a CloudEvents envelope") from None
    if twice:
        raise NotAnEnvelope(NAMED_TWICE)
    if envelope.specversion != _VERSION:
        raise NotAnEnvelope(f"specversion: not {_VERSION}")
    if not (envelope.id and envelope.source and envelope.type):
        raise NotAnEnvelope("id, source and type must not be empty")
    if not _is_json(envelope.datacontenttype):
        raise NotAnEnvelope("datacontenttype: not JSON")
    return _with_id(_data(envelope), envelope.id)


def _data(envelope: _Envelope) -> bytes:
    if (envelope.data is UNSET) == (envelope.data_base64 is UNSET):
        raise NotAnEnvelope("needs exactly one of data and data_base64")
    if isinstance(envelope.data, Raw):
        return bytes(envelope.data)
    try:
        return base64.b64decode(str(envelope.data_base64), validate=True)
    except (binascii.Error, ValueError):
        raise NotAnEnvelope("data_base64: not base64") from None


def _is_json(content_type: str | None) -> bool:
    if content_type is None:
        return True
    kind = content_type.partition(";")[0].strip().lower()
    return kind == _JSON or kind.endswith("+json")


def _with_id(body: bytes, envelope_id: str) -> bytes:
    """The record with `event_id` in front where it names none. What is not an object is returned as it is."""
    try:
        named = _BODY.decode(body).event_id is not UNSET
    except (ValueError, RecursionError, MemoryError):
        return body
    rest = body.lstrip(b" \t\r\n")[1:].lstrip(b" \t\r\n")
    if named or rest.startswith(b"}"):
        return body
    return b'{"event_id":%b,%b' % (msgspec.json.encode(envelope_id), rest)
