"""Schemas of the headers that the gate writes and reads, each header as the text that its bytes are in UTF-8."""

from typing import Any, Final, TypeAlias, get_args

from transfer_gate.model.reasons import REASONS
from transfer_gate.model.terms import CHANNELS
from transfer_gate.records import headers
from transfer_gate.records.decisions import ANY_CHANNEL
from transfer_gate.records.replay_requests import Action
from transfer_gate.records.sealing import ALGORITHM

Schema: TypeAlias = dict[str, Any]

_UUID: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_NUMBER: Final = r"^(0|[1-9][0-9]*)$"
_WHEN: Final = {"format": "date-time"}
#: Headers that a quarantine record may lack.
_OPTIONAL: Final = frozenset(
    {
        headers.PARTNER,
        headers.CHANNELS,
        headers.DECISION_ID,
        headers.REPLAY_RUN,
        headers.ENCRYPTION,
        headers.REFERENCE,
        headers.SOURCE_TOPIC_ID,
    }
)


def quarantine_headers() -> Schema:
    """Headers of a record of the quarantine topic."""
    described = _of_quarantine()
    return {
        "title": "QuarantineHeaders",
        "description": "The gate's headers of a quarantined record, beside the inbound headers of its source.",
        "type": "object",
        "properties": _texts(described),
        "required": [header for header in described if header not in _OPTIONAL],
    }


def replay_headers() -> Schema:
    """Headers of a record of the replay topic: those of the quarantine record that is sent back, and what is asked."""
    described = _of_quarantine()
    asked: dict[str, tuple[str, Schema]] = {
        headers.REPLAY_ACTION: (
            (
                "What is asked: a fresh decision (also when the header is absent), to discard the record for good, or "
                "to wrap the key of a prospect by the current master key (then no other header and no value)."
            ),
            {"enum": list(get_args(Action))},
        ),
        headers.REPLAY_WHY: ("Why a record is discarded, in the operator's words.", {}),
        headers.RAW: (
            "In place of a header of the source whose name is not UTF-8; name and value in base64. May repeat.",
            _json({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name", "value"]}),
        ),
    }
    rewraps = {"properties": {headers.REPLAY_ACTION: {"const": "rewrap"}}, "required": [headers.REPLAY_ACTION]}
    return {
        "title": "ReplayHeaders",
        "description": "Headers of a record sent back to the gate, beside the inbound headers of its source.",
        "type": "object",
        "properties": _texts(described | asked),
        "if": rewraps,
        "else": {"required": [header for header in described if header not in _OPTIONAL]},
    }


def _of_quarantine() -> dict[str, tuple[str, Schema]]:
    reasons = {"enum": list(REASONS)}
    return {
        headers.FORMAT: ("Version of this set of headers.", {"const": "1"}),
        headers.QUARANTINE_ID: (
            "UUIDv5 of the first source coordinates and the partner.",
            {"pattern": _UUID},
        ),
        headers.STAGE: (
            "Where the record was held.",
            {"enum": list(get_args(headers.Stage))},
        ),
        headers.PARTNER: ("Partner; absent when the record could not be read.", {}),
        headers.CHANNELS: (
            "Channels that were held; absent when the record could not be read.",
            _json(
                {
                    "type": "array",
                    "minItems": 1,
                    "uniqueItems": True,
                    "items": {"enum": list(CHANNELS)},
                }
            ),
        ),
        headers.REASON: ("First reason.", reasons),
        headers.REASONS: (
            f"Channel to reasons; `{ANY_CHANNEL}` stands for all of a record that could not be read.",
            _json(
                {
                    "type": "object",
                    "additionalProperties": {
                        "type": "array",
                        "minItems": 1,
                        "items": reasons,
                    },
                }
            ),
        ),
        headers.SOURCE_TOPIC: ("Topic of the source, prefix included.", {}),
        headers.SOURCE_PARTITION: ("Partition of the source.", {"pattern": _NUMBER}),
        headers.SOURCE_OFFSET: ("Offset of the source.", {"pattern": _NUMBER}),
        headers.SOURCE_TOPIC_ID: (
            "Id of the source's topic (KIP-516), when it was made anew under its name; absent before.",
            {},
        ),
        headers.SOURCE_TIMESTAMP_MS: (
            "Timestamp of the source, milliseconds since the epoch.",
            {"pattern": r"^-?[0-9]+$"},
        ),
        headers.DECISION_ID: ("Decision record that explains it.", {"pattern": _UUID}),
        headers.POLICY_REVISION: ("Revision of the registry that decided.", {}),
        headers.CONSENT_OFFSET: (
            "Position in `consent-events` that the decision saw.",
            {"pattern": r"^-?[0-9]+$"},
        ),
        headers.QUARANTINED_AT: ("When this attempt was held.", _WHEN),
        headers.FIRST_QUARANTINED_AT: ("When the record was first held.", _WHEN),
        headers.ATTEMPT: (
            "Number of decisions so far, from 1.",
            {"pattern": r"^[1-9][0-9]*$"},
        ),
        headers.REPLAY_RUN: (
            "Replay that sent the record back; absent before the first.",
            {},
        ),
        headers.ENCRYPTION: (
            "How the value is encrypted; absent when it is plain. `key` names the key of the prospect, or of the day.",
            _json(
                {
                    "type": "object",
                    "properties": {"alg": {"const": ALGORITHM}, "key": {"type": "string"}},
                    "required": ["alg", "key"],
                }
            ),
        ),
        headers.REFERENCE: (
            (
                "In place of the value, which is too large to be repeated, or can't be had: where the source stands, "
                "its size (bytes) and SHA-256; absent where the value is there. `last_offset`: bytes that can't be had "
                "stand from `offset` to there. `key_size`, `key_sha256`: the key is left out, too; "
                "`headers_left_out`: so are "
                "the headers."
            ),
            _json(
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
        ),
    }


def _texts(described: dict[str, tuple[str, Schema]]) -> Schema:
    return {header: {"description": about, "type": "string"} | shape for header, (about, shape) in described.items()}


def _json(schema: Schema) -> Schema:
    return {"contentMediaType": "application/json", "contentSchema": schema}
