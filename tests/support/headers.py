"""What contract section 5 says of quarantine records, spelt out a second time and without the product's own code."""

import datetime as dt
import uuid
from typing import Final

from tests.support.stream_gate import Sent
from transfer_gate.gate.inbox import Record

NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "transfer-gate")
#: Inbound headers: foreign ones without value, an empty one, a repeated name, names that look like the gate's.
FOREIGN: Final = (
    ("trace", b"\x00\xff"),
    ("empty", b""),
    ("none", None),
    ("trace", b"2"),
    ("TG-upper", b"kept"),
    ("x-tg-inside", b"kept"),
    ("", b"nameless"),
)
#: Inbound headers that only the gate may write.
FORGED: Final = (("tg-attempt", b"9"), ("tg-partner", b"acme"), ("tg-anything", None), ("tg-", b"x"))


def named(name: str) -> str:
    """The UUIDv5 of a name in the gate's namespace."""
    return str(uuid.uuid5(NAMESPACE, name))


def place_of(sent: Sent, partner: str = "") -> str:
    """How ids spell the source of a record, and the partner."""
    topic, partition, offset = sent.place
    return f"{topic}:{partition}:{offset}:{partner}"


def check_headers(record: Record, sent: Sent, partner: str = "", **expected: str) -> None:
    """Hold that the headers are the foreign ones, verbatim, then the gate's and no others.

    `expected` are those of the gate that differ by case, `tg_reason="…"` and so on. Without a partner there must be
    neither `tg-partner` nor `tg-channels`.
    """
    foreign = [header for header in sent.headers if not header[0].startswith("tg-")]
    assert list(record.headers[: len(foreign)]) == foreign
    ours = [(name, (value or b"").decode()) for name, value in record.headers[len(foreign) :]]
    found = dict(ours)
    assert len(found) == len(ours), "a header of the gate stands twice"
    at = found.pop("tg-quarantined-at")
    assert dt.datetime.fromisoformat(at).utcoffset() == dt.timedelta(0)
    assert found.pop("tg-first-quarantined-at") == at
    assert found.pop("tg-policy-revision")
    assert int(found.pop("tg-consent-offset")) >= 0
    topic, partition, offset = sent.place
    assert found == {
        "tg-format": "1",
        "tg-quarantine-id": named(f"quarantine:{place_of(sent, partner)}"),
        "tg-source-topic": topic,
        "tg-source-partition": str(partition),
        "tg-source-offset": str(offset),
        "tg-source-timestamp-ms": str(sent.timestamp_ms),
        "tg-attempt": "1",
        **({"tg-partner": partner} if partner else {}),
        **{name.replace("_", "-"): value for name, value in expected.items()},
    }
