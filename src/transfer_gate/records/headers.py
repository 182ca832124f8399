"""Record headers that the gate writes (contract section 5): the one place where their names are spelt.

What each means, which may be absent and how it is read stands with the records of each topic, as a table of `Header`:
`records.released`, `records.quarantined`, `records.replay_requests`. Schemas and documentation are generated from it.
`of_release` and `of_quarantine` write them.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import msgspec

from transfer_gate.model.terms import Channel
from transfer_gate.records.decisions import ANY_CHANNEL

Headers = Sequence[tuple[str, bytes | None]]
Stage = Literal["decode", "schema", "consent", "policy"]


class Header(NamedTuple):
    """A header: what it means, and the JSON Schema of the text that its bytes are in UTF-8."""

    name: str
    about: str
    schema: Mapping[str, Any] = MappingProxyType({})
    optional: bool = False


def json_text(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a text that is JSON."""
    return {"contentMediaType": "application/json", "contentSchema": schema}


PREFIX: Final = "tg-"
FORMAT: Final = "tg-format"
QUARANTINE_ID: Final = "tg-quarantine-id"
STAGE: Final = "tg-stage"
PARTNER: Final = "tg-partner"
CHANNELS: Final = "tg-channels"
REASON: Final = "tg-reason"
REASONS: Final = "tg-reasons"
SOURCE_TOPIC: Final = "tg-source-topic"
SOURCE_PARTITION: Final = "tg-source-partition"
SOURCE_OFFSET: Final = "tg-source-offset"
SOURCE_TOPIC_ID: Final = "tg-source-topic-id"
#: On the topic of strays: how many topics of the name stood before the source's.
SOURCE_LIFE: Final = "tg-source-life"
SOURCE_TIMESTAMP_MS: Final = "tg-source-timestamp-ms"
DECISION_ID: Final = "tg-decision-id"
POLICY_REVISION: Final = "tg-policy-revision"
CONSENT_OFFSET: Final = "tg-consent-offset"
QUARANTINED_AT: Final = "tg-quarantined-at"
FIRST_QUARANTINED_AT: Final = "tg-first-quarantined-at"
ATTEMPT: Final = "tg-attempt"
REPLAY_RUN: Final = "tg-replay-run"
REPLAY_ACTION: Final = "tg-replay-action"
REPLAY_WHY: Final = "tg-replay-why"
ENCRYPTION: Final = "tg-encryption"
REFERENCE: Final = "tg-reference"
#: On the replay topic, in place of each header whose name is not UTF-8: producers refuse such names.
RAW: Final = "tg-raw-header"
TRANSFER_ID: Final = "tg-transfer-id"
CONTENT_TYPE: Final = "content-type"

_JSON: Final = b"application/json"
_encode = msgspec.json.Encoder().encode


def of_release(transfer_id: str, decision_id: str) -> list[tuple[str, bytes | None]]:
    """Headers of a record on a partner's topic."""
    return [
        (TRANSFER_ID, transfer_id.encode()),
        (DECISION_ID, decision_id.encode()),
        (CONTENT_TYPE, _JSON),
    ]


def without_gate_headers(headers: Headers) -> list[tuple[str, bytes | None]]:
    """Inbound headers of a live topic, without those that only the gate may set."""
    return [header for header in headers if not header[0].startswith(PREFIX)]


def of_quarantine(
    inbound: Headers,
    *,
    quarantine_id: str,
    stage: Stage,
    partner_id: str | None,
    reasons: Mapping[Channel, Sequence[str]] | Mapping[str, Sequence[str]],
    source: tuple[str, int, int, int],
    decision_id: str | None,
    revision: str,
    consent_offset: int,
    quarantined_at: str,
    first_quarantined_at: str | None = None,
    attempt: int = 1,
    replay_run: str | None = None,
    encryption: bytes | None = None,
    reference: bytes | None = None,
    topic_id: str | None = None,
) -> list[tuple[str, bytes | None]]:
    """Headers of a quarantine record: the source's own, then the gate's.

    `reasons` is channel to reasons, with the one key `*` when the record could not be read; `source` is topic,
    partition, offset and timestamp (ms since the epoch) of the first source; times are RFC 3339.
    """
    headers = without_gate_headers(inbound) if inbound else []
    topic, partition, offset, timestamp_ms = source
    at = quarantined_at.encode()
    first = next(iter(reasons.values()))[0]
    headers += [
        (FORMAT, b"1"),
        (QUARANTINE_ID, quarantine_id.encode()),
        (STAGE, stage.encode()),
        (REASON, first.encode()),
        (REASONS, _encode(reasons)),
        (SOURCE_TOPIC, topic.encode()),
        (SOURCE_PARTITION, b"%d" % partition),
        (SOURCE_OFFSET, b"%d" % offset),
        (SOURCE_TIMESTAMP_MS, b"%d" % timestamp_ms),
        (POLICY_REVISION, revision.encode()),
        (CONSENT_OFFSET, b"%d" % consent_offset),
        (QUARANTINED_AT, at),
        (FIRST_QUARANTINED_AT, first_quarantined_at.encode() if first_quarantined_at else at),
        (ATTEMPT, b"%d" % attempt),
    ]
    if partner_id is not None and ANY_CHANNEL not in reasons:
        headers += [(PARTNER, partner_id.encode()), (CHANNELS, _encode(list(reasons)))]
    if topic_id is not None:
        headers.append((SOURCE_TOPIC_ID, topic_id.encode()))
    if decision_id is not None:
        headers.append((DECISION_ID, decision_id.encode()))
    if replay_run is not None:
        headers.append((REPLAY_RUN, replay_run.encode()))
    if encryption is not None:
        headers.append((ENCRYPTION, encryption))
    if reference is not None:
        headers.append((REFERENCE, reference))
    return headers
