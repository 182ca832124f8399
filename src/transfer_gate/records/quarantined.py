"""A record of the quarantine topic, or one sent back on the replay topic, read from its headers (contract 5)."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar, get_args

import msgspec
from msgspec import Struct

from transfer_gate.model.state import SealingKey
from transfer_gate.model.terms import CHANNELS, REASONS, Channel, Reason
from transfer_gate.records import headers as names
from transfer_gate.records import ids
from transfer_gate.records.decisions import ANY_CHANNEL, SourcePlace
from transfer_gate.records.headers import Header, Headers, Stage, json_text
from transfer_gate.records.sealing import ALGORITHM, Encryption, MasterKeys, open_sealed, owner_of

_CHANNELS: Final = msgspec.json.Decoder(tuple[Channel, ...])
_REASONS: Final = msgspec.json.Decoder(dict[str, tuple[Reason, ...]])
_ENCRYPTION: Final = msgspec.json.Decoder(Encryption)
#: No header that the gate writes is longer.
_LONGEST: Final = 32 << 10

T = TypeVar("T")


class MalformedHeaders(ValueError):
    """The headers are not those of a quarantine record; the text names the header."""


class Reference(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """In place of a value (header `tg-reference`): where the record stands, and what it is.

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


_UUID: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_NUMBER: Final = r"^(0|[1-9][0-9]*)$"
_WHEN: Final = {"format": "date-time"}
_REASON: Final = {"enum": list(REASONS)}

#: Headers of a record of the quarantine topic, beside those of its source.
HEADERS: Final = (
    Header(names.FORMAT, "Version of this set of headers.", {"const": "1"}),
    Header(names.QUARANTINE_ID, "UUIDv5 of the first source coordinates and the partner.", {"pattern": _UUID}),
    Header(names.STAGE, "Where the record was quarantined.", {"enum": list(get_args(Stage))}),
    Header(names.PARTNER, "Partner; absent when the record could not be read.", optional=True),
    Header(
        names.CHANNELS,
        "Channels that were quarantined; absent when the record could not be read.",
        json_text(
            {
                "type": "array",
                "minItems": 1,
                "uniqueItems": True,
                "items": {"enum": list(CHANNELS)},
            }
        ),
        optional=True,
    ),
    Header(names.REASON, "First reason.", _REASON),
    Header(
        names.REASONS,
        f"Channel to reasons; `{ANY_CHANNEL}` stands for all of a record that could not be read.",
        json_text(
            {
                "type": "object",
                "additionalProperties": {
                    "type": "array",
                    "minItems": 1,
                    "items": _REASON,
                },
            }
        ),
    ),
    Header(names.SOURCE_TOPIC, "Topic of the source, prefix included."),
    Header(names.SOURCE_PARTITION, "Partition of the source.", {"pattern": _NUMBER}),
    Header(names.SOURCE_OFFSET, "Offset of the source.", {"pattern": _NUMBER}),
    Header(
        names.SOURCE_TOPIC_ID,
        "Id of the source's topic (KIP-516), when it was made anew under its name; absent before.",
        optional=True,
    ),
    Header(
        names.SOURCE_TIMESTAMP_MS, "Timestamp of the source, milliseconds since the epoch.", {"pattern": r"^-?[0-9]+$"}
    ),
    Header(names.DECISION_ID, "Decision record that explains it.", {"pattern": _UUID}, optional=True),
    Header(names.POLICY_REVISION, "Revision of the registry that decided."),
    Header(names.CONSENT_OFFSET, "Position in `consent-events` that the decision saw.", {"pattern": r"^-?[0-9]+$"}),
    Header(names.QUARANTINED_AT, "When this attempt was quarantined.", _WHEN),
    Header(names.FIRST_QUARANTINED_AT, "When the record was first quarantined.", _WHEN),
    Header(names.ATTEMPT, "Number of decisions so far, from 1.", {"pattern": r"^[1-9][0-9]*$"}),
    Header(names.REPLAY_RUN, "Replay that sent the record back; absent before the first.", optional=True),
    Header(
        names.ENCRYPTION,
        "How the value is encrypted; absent when it is plain. `key` names the key of the prospect, or of the day.",
        json_text(
            {
                "type": "object",
                "properties": {"alg": {"const": ALGORITHM}, "key": {"type": "string"}},
                "required": ["alg", "key"],
            }
        ),
        optional=True,
    ),
    Header(
        names.REFERENCE,
        "In place of the value, which is too large to be repeated, or can't be had: where the source stands, "
        "its size (bytes) and SHA-256; absent where the value is there. `last_offset`: bytes that can't be had "
        "stand from `offset` to there. `key_size`, `key_sha256`: the key is left out, too; "
        "`headers_left_out`: so are the headers.",
        json_text(
            {
                "type": "object",
                "properties": {
                    "topic": {"type": "string"},
                    "partition": {"type": "integer"},
                    "offset": {"type": "integer"},
                    "size": {"type": "integer"},
                    "sha256": {"type": "string"},
                    "topic_id": {"type": "string"},
                    "last_offset": {"type": "integer"},
                    "key_size": {"type": "integer"},
                    "key_sha256": {"type": "string"},
                    "headers_left_out": {"type": "boolean"},
                },
                "required": ["topic", "partition", "offset", "size", "sha256"],
            }
        ),
        optional=True,
    ),
)


class Quarantined(Struct, frozen=True, gc=False, kw_only=True):
    """The headers of a quarantine record. Times are RFC 3339, as they were written.

    `partner_id` is None and `channels` empty when the record could not be read; `reasons` then has the one key `*`.
    `source` are the first source coordinates. `inbound` are the headers of the source.
    """

    quarantine_id: str
    stage: Stage
    partner_id: str | None
    channels: tuple[Channel, ...]
    reasons: dict[str, tuple[Reason, ...]]
    source: SourcePlace
    source_timestamp_ms: int
    decision_id: str | None
    revision: str
    consent_offset: int
    quarantined_at: str
    first_quarantined_at: str
    attempt: int
    replay_run: str | None
    encryption: Encryption | None
    #: Set where the record has no value of its own: the source is to be read where it stands.
    reference: Reference | None = None
    inbound: list[tuple[str, bytes | None]]

    @property
    def reason(self) -> Reason:
        """The first reason."""
        return next(iter(self.reasons.values()))[0]

    @property
    def name(self) -> str:
        """First source coordinates and partner: what a sealed payload is bound to."""
        return ids.quarantine_name(self.source.name, self.source.partition, self.source.offset, self.partner_id or "")

    def owner(self, key: bytes | None) -> bytes:
        """Under which key of the consent table the key of its payload lies; `key`: of the record. See `owner_of`."""
        return owner_of(key, self.stage, self.partner_id, self.quarantined_at, self.reason)


class Opener:
    """Opens the payloads of quarantine records; `key_of`: the sealing key of an owner now, wherever it is kept."""

    def __init__(self, key_of: Callable[[bytes], SealingKey | None], masters: MasterKeys | None) -> None:
        self._key_of = key_of
        self._masters = masters

    def open(self, record: Quarantined, key: bytes | None, value: bytes | None) -> bytes | None:
        """The payload of a record with this key and value, which it is itself where it is not sealed.

        Raises Erased, NotOpened (see `records.sealing`).
        """
        if record.encryption is None:
            return value
        owner = record.owner(key)
        return open_sealed(value or b"", record.encryption, record.name, self._key_of(owner), self._masters)


_REFERENCE: Final = msgspec.json.Decoder(Reference)
encode_reference: Final = msgspec.json.Encoder().encode


_REQUIRED: Final = tuple(header.name for header in HEADERS if not header.optional)


def decode_quarantined(sent: Headers) -> Quarantined:
    """Read the headers of a quarantine record. Raises MalformedHeaders."""
    own = _OwnHeaders({name: value for name, value in sent if name.startswith(names.PREFIX)})
    if own.text(names.FORMAT) != "1":
        raise MalformedHeaders(f"header {names.FORMAT} names a format that this version does not know")
    for name in _REQUIRED:
        if name not in own.values:
            raise MalformedHeaders(f"header {name} is missing")
    partner_id = own.optional(names.PARTNER)
    source = SourcePlace(
        topic=own.text(names.SOURCE_TOPIC),
        partition=own.number(names.SOURCE_PARTITION),
        offset=own.number(names.SOURCE_OFFSET),
        topic_id=own.optional(names.SOURCE_TOPIC_ID),
    )
    record = Quarantined(
        quarantine_id=own.text(names.QUARANTINE_ID),
        stage=own.stage(),
        partner_id=partner_id,
        channels=own.decoded(names.CHANNELS, _CHANNELS) if partner_id is not None else (),
        reasons=own.decoded(names.REASONS, _REASONS),
        source=source,
        source_timestamp_ms=own.number(names.SOURCE_TIMESTAMP_MS),
        decision_id=own.optional(names.DECISION_ID),
        revision=own.text(names.POLICY_REVISION),
        consent_offset=own.number(names.CONSENT_OFFSET),
        quarantined_at=own.text(names.QUARANTINED_AT),
        first_quarantined_at=own.text(names.FIRST_QUARANTINED_AT),
        attempt=own.number(names.ATTEMPT),
        replay_run=own.optional(names.REPLAY_RUN),
        encryption=own.decoded(names.ENCRYPTION, _ENCRYPTION) if names.ENCRYPTION in own.values else None,
        reference=own.decoded(names.REFERENCE, _REFERENCE) if names.REFERENCE in own.values else None,
        inbound=names.without_gate_headers(sent),
    )
    if record.quarantine_id != ids.quarantine_id(source.name, source.partition, source.offset, partner_id or ""):
        raise MalformedHeaders(f"header {names.QUARANTINE_ID} is not that of the coordinates")
    if record.attempt < 1 or not any(record.reasons.values()) or bool(record.channels) != (partner_id is not None):
        raise MalformedHeaders("attempt, reasons or channels are not those of a quarantine record")
    return record


class _OwnHeaders:
    """The gate's own headers by name; every reader raises MalformedHeaders naming the header."""

    def __init__(self, values: Mapping[str, bytes | None]) -> None:
        self.values = values

    def text(self, name: str) -> str:
        try:
            raw = self.values[name] or b""
            if len(raw) > _LONGEST:
                raise MalformedHeaders(f"header {name} is too long")
            return raw.decode()
        except (KeyError, UnicodeDecodeError):
            raise MalformedHeaders(f"header {name} is missing, or not UTF-8") from None

    def optional(self, name: str) -> str | None:
        return self.text(name) if name in self.values else None

    def number(self, name: str) -> int:
        try:
            return int(self.text(name))
        except ValueError:
            raise MalformedHeaders(f"header {name} is not a number") from None

    def decoded(self, name: str, decoder: msgspec.json.Decoder[T]) -> T:
        try:
            return decoder.decode(self.text(name))
        except msgspec.DecodeError:
            raise MalformedHeaders(f"header {name} is not what it must be") from None

    def stage(self) -> Stage:
        text = self.text(names.STAGE)
        if text not in get_args(Stage):
            raise MalformedHeaders(f"header {names.STAGE} is not a stage")
        return text  # type: ignore[return-value]  # one of them, as just checked
