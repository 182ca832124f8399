"""A record of the replay topic: a quarantine record that is sent back, and what it requests of the gate."""

from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

from transfer_gate.records import headers as names
from transfer_gate.records.headers import PREFIX, RAW, Header, Headers, json_text

#: What a record on the replay topic requests of the gate; without the header, a fresh decision.
Action = Literal["replay", "discard", "rewrap"]

#: What an earlier replay wrote, and each replay writes itself.
_REQUEST: Final = frozenset({names.REPLAY_RUN, names.REPLAY_ACTION, names.REPLAY_WHY})
#: Headers that a record of the replay topic may have besides those of a quarantine record.
HEADERS: Final = (
    Header(
        names.REPLAY_ACTION,
        "What is requested: a fresh decision (also when the header is absent), to discard the record for good, or "
        "to wrap the key of a prospect by the current master key (then no other header and no value).",
        {"enum": list(get_args(Action))},
        optional=True,
    ),
    Header(names.REPLAY_WHY, "Why a record is discarded, in the operator's words.", optional=True),
    Header(
        RAW,
        "In place of a header of the source whose name is not UTF-8; name and value in base64. May repeat.",
        json_text({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name", "value"]}),
        optional=True,
    ),
)
_encode: Final = msgspec.json.Encoder().encode


class RawHeader(Struct, frozen=True, gc=False):
    """A header with any bytes for a name; msgspec writes bytes as base64."""

    name: bytes
    value: bytes | None


_RAW: Final = msgspec.json.Decoder(RawHeader)


def requesting(
    action: Action, run: str | None, why: str | None, headers: Headers = ()
) -> list[tuple[str, bytes | None]]:
    """Headers of a quarantine record with a request to the gate, as any producer takes them."""
    request = [(names.REPLAY_RUN, run), (names.REPLAY_ACTION, action), (names.REPLAY_WHY, why)]
    kept = [header for header in headers if header[0] not in _REQUEST]
    return portable(kept + [(name, text.encode()) for name, text in request if text is not None])


def portable(headers: Headers) -> list[tuple[str, bytes | None]]:
    """The same headers, those that no producer takes wrapped; see `restored`."""
    return [
        header
        if header[0].isascii() or not _is_raw(header[0])
        else (RAW, _encode(RawHeader(header[0].encode("utf-8", "surrogateescape"), header[1])))
        for header in headers
    ]


def restored(headers: Headers) -> Headers:
    """Headers as they were before `portable`. What is wrapped wrongly stays as it is."""
    if not any(name == RAW for name, _ in headers):
        return headers
    return [_unwrapped(value) or (name, value) if name == RAW else (name, value) for name, value in headers]


def _unwrapped(value: bytes | None) -> tuple[str, bytes | None] | None:
    try:
        raw = _RAW.decode(value or b"")
    except msgspec.DecodeError:
        return None
    name = raw.name.decode("utf-8", "surrogateescape")
    return None if name.startswith(PREFIX) else (name, raw.value)


def _is_raw(name: str) -> bool:
    # Code points of PEP 383.
    return not name.isascii() and any(0xDC80 <= ord(character) <= 0xDCFF for character in name)
