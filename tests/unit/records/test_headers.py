"""Headers are declared once: what is written, read and published is the same set."""

from collections.abc import Mapping

import msgspec
import pytest

from transfer_gate.records import headers, ids, quarantined, released
from transfer_gate.records.quarantined import MalformedHeaders, Reference, decode_quarantined, encode_reference
from transfer_gate.records.sealing import Encryption, encode_encryption

OPTIONAL = [header.name for header in quarantined.HEADERS if header.optional]
REQUIRED = [header.name for header in quarantined.HEADERS if not header.optional]
REFERENCE = Reference(topic="in", partition=0, offset=7, size=3, sha256="00")
SEALED = Encryption("A256GCM", "k")


def written(*, whole: bool) -> dict[str, bytes | None]:
    """With every header, or with those only that every record has."""
    partner, topic_id = ("acme", "AAAAAAAAAAAAAAAAAAAAAQ") if whole else (None, None)
    reasons: Mapping[str, list[str]] = {"email": ["electronic-optin"]} if whole else {"*": ["undecodable"]}
    return dict(
        headers.of_quarantine(
            [("tg-reason", b"of the source"), ("traceparent", b"00")],
            quarantine_id=ids.quarantine_id(ids.topic_name("in", topic_id), 0, 7, partner or ""),
            stage="policy" if whole else "decode",
            partner_id=partner,
            reasons=reasons,
            source=("in", 0, 7, 1791187140000),
            decision_id="77f5d2a0-9c1b-5b34-8a52-3a1c9f0d2e11" if whole else None,
            revision="r",
            consent_offset=3,
            quarantined_at="2026-10-05T08:00:00.25Z",
            attempt=2 if whole else 1,
            replay_run="plan-1" if whole else None,
            encryption=encode_encryption(SEALED) if whole else None,
            reference=encode_reference(REFERENCE) if whole else None,
            topic_id=topic_id,
        )
    )


def test_the_headers_that_are_written_are_those_that_are_declared() -> None:
    """Of a quarantine record all of them, or those only that it must have; of a released record all."""
    assert {*written(whole=True)} == {"traceparent", *REQUIRED, *OPTIONAL}
    assert {*written(whole=False)} == {"traceparent", *REQUIRED}
    assert [name for name, _ in headers.of_release("t", "d")] == [header.name for header in released.HEADERS]


def test_what_is_written_is_read() -> None:
    """Every header of the declaration comes back as a value, and those of the source beside it."""
    read = decode_quarantined([*written(whole=True).items()])
    assert (read.partner_id, read.channels, read.attempt, read.replay_run) == ("acme", ("email",), 2, "plan-1")
    assert (read.source.topic_id, read.encryption, read.reference) == ("AAAAAAAAAAAAAAAAAAAAAQ", SEALED, REFERENCE)
    assert read.inbound == [("traceparent", b"00")]
    bare = decode_quarantined([*written(whole=False).items()])
    empty = {name for name, value in msgspec.structs.asdict(bare).items() if value in (None, ())}
    assert empty == {"partner_id", "channels", "decision_id", "replay_run", "encryption", "reference"}


@pytest.mark.parametrize("name", REQUIRED)
def test_a_record_without_a_header_that_it_must_have_is_malformed(name: str) -> None:
    """The error names it."""
    sent = written(whole=False)
    del sent[name]
    with pytest.raises(MalformedHeaders, match=name):
        decode_quarantined([*sent.items()])
