"""Whatever a platform sends: nothing raises, nothing is lost, and what can't be mapped blocks its person."""

import datetime as dt
import json
from pathlib import Path
from typing import Any, Final

from hypothesis import example, given
from hypothesis import strategies as st

from transfer_gate.ingest.reading import BodyReader
from transfer_gate.ingest.source import load_sources
from transfer_gate.records.consents import decode_consent, is_readable

SOURCES: Final = load_sources(Path(__file__).parents[2] / "examples" / "ingest")
READERS: Final = [BodyReader(file.source) for file in SOURCES]
AT: Final = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)
#: Members that the shipped sources look at, so that what is drawn comes near to what they read.
NAMES: Final = st.sampled_from(
    ["type", "regulation", "parameters", "entity", "user", "organization_user_id", "consents", "purposes", "id",
     "enabled", "payload", "profiles", "purposeId", "profileFields", "TransactionStatus", "eventType", "unsubscribeAll",
     "item", "dataSubjectIdentifier", "events", "kind", "person", "at", "channels", "prospect_id", "created_at"]
)  # fmt: skip
WORDS: Final = st.sampled_from(
    ["event.created", "user.deleted", "gdpr", "cpra", "3010", "ACTIVE", "opt-out", "erasure", "p-1", "partners-email",
     "true", "2026-09-14T08:30:11Z", "", "undefined"]
)  # fmt: skip
#: Python writes `Infinity` and `NaN` for what JSON has no number for (RFC 8259 section 6).
NUMBERS: Final = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
LEAVES: Final = st.none() | st.booleans() | NUMBERS | WORDS | st.text(max_size=4)
VALUES: Final = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=25
)


@given(st.sampled_from(READERS), VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60))
@example(READERS[0], b"[" * 5000)
@example(READERS[2], b'{"events": [{"kind": "erasure", "person": "p-1", "at": Infinity}]}')
@example(READERS[2], b'{"events": [{"kind": "erasure", "person": "p-1", "at": "9999-12-31T23:59:59-23:59"}]}')
@example(READERS[2], b'{"events": [{"kind": "erasure", "person": "\\ud800", "at": "2026-09-14T08:30:11Z"}]}')
def test_every_body_ends_as_events_as_passed_over_or_as_records_that_nobody_can_read(
    reader: BodyReader, body: bytes
) -> None:
    reading = reader.read(body, AT)
    for event in reading.events:
        decode_consent(event.value, event.key)
    unmapped = [*reading.unreadable, *([reading.of_nobody] if reading.of_nobody else [])]
    assert not any(is_readable(record.value, record.key) for record in unmapped)
    assert all(record.key is not None for record in reading.unreadable)
    assert reading.events or unmapped or reading.passed_over or reading.other_regulation


@given(st.dictionaries(NAMES, VALUES, max_size=4), st.text(alphabet="abc-1", min_size=1, max_size=5))
def test_an_event_of_a_known_person_always_counts_or_blocks_them(other: dict[str, Any], person: str) -> None:
    """Of the signed source, whatever else stands in the event."""
    reading = READERS[2].read(json.dumps({"events": [other | {"person": person, "kind": "opt-out"}]}).encode(), AT)
    keys = {event.key for event in reading.events} | {record.key for record in reading.unreadable}
    if person != "-1":
        assert keys == {person.encode()}
        assert reading.of_nobody is None
