"""CloudEvents on the input topics: an envelope is decided as what it holds, and kept as it came."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.support.quarantine_gate import Operator
from tests.support.replays import held_for, send_back
from tests.support.stream_gate import Sent, StreamGate, json_of, open_gate
from transfer_gate.gate.inbox import Record

pytestmark = pytest.mark.asyncio(loop_scope="session")

HEADERS: Final = (("content-type", b"application/cloudevents+json; charset=UTF-8"), ("trace", b"\x00\xff"))
BINARY: Final = (("ce_specversion", b"1.0"), ("ce_id", b"other"), ("content-type", b"application/json"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StreamGate]:
    """A gate of its own: everything on it is counted at the end."""
    async with open_gate(bootstrap_servers, tmp_path_factory.mktemp("cloudevents"), partitions=2) as opened:
        yield opened


def envelope(value: bytes, *, in_base64: bool = False, **more: Any) -> bytes:
    attributes = {"specversion": "1.0", "id": "ce-1", "source": "/crm", "type": "org.example"} | more
    data: dict[str, Any] = (
        {"data_base64": base64.b64encode(value).decode()} if in_base64 else {"data": json.loads(value)}
    )
    return json.dumps(attributes | data, indent=1).encode()


def without_id(value: bytes) -> bytes:
    return json.dumps({name: member for name, member in json.loads(value).items() if name != "event_id"}).encode()


def is_verbatim(record: Record, sent: Sent) -> bool:
    kept = tuple(header for header in record.headers if not header[0].startswith("tg-"))
    return (record.key, record.value, kept) == (sent.key, sent.value, tuple(sent.headers))


async def test_envelopes_are_decided_as_what_they_hold_and_kept_as_they_came(
    own: StreamGate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Released, held, replayed, unreadable, misplaced; then `verify`, `audit` and `policy explain` say the same."""
    events, consents, transfers = own.events, own.topics.consents, own.topics.transfers
    for who in ("ce-yes", "ce-no"):
        await own.send(consents, envelope(events.consent(who, f"c-{who}")), who.encode(), HEADERS)
    withdrawal = without_id(events.against("withdrawal", "ce-no", "w-1"))
    await own.send(consents, envelope(withdrawal, in_base64=True, id="w-2"), b"ce-no", HEADERS)
    astray = envelope(events.consent("ce-stray", "c-stray"))
    await own.send(consents, astray, b"ce-stray", HEADERS, 1 - own.home("ce-stray"), misplaced=True)
    await own.send(consents, events.consent("ce-binary", "c-binary"), b"ce-binary", BINARY)
    await own.send(consents, b'{"specversion": "1.0", "data": {}}', b"ce-blocked", HEADERS)
    await own.settled()
    sent = {
        who: await own.send(
            transfers, envelope(without_id(events.transfer(who, "-")), id=f"t-{who}"), who.encode(), HEADERS
        )
        for who in ("ce-yes", "ce-no", "ce-stray", "ce-blocked", "ce-late")
    }
    sent["ce-binary"] = await own.send(transfers, events.transfer("ce-binary", "t-binary"), b"ce-binary", BINARY)
    hostile = await own.send(transfers, b'{"specversion": "1.0", "id": "\xff"', b"ce-yes", HEADERS)
    bare = await own.send(transfers, envelope(events.transfer("ce-yes", "t-bare")), b"ce-yes")
    outputs = await own.outputs()
    released = {body["prospect_id"]: body["event_id"] for body in map(json_of, outputs.released["acme"])}
    assert released == {"ce-yes": "t-ce-yes", "ce-stray": "t-ce-stray", "ce-binary": "t-binary"}
    reasons = {who: json_of_reason(outputs.held(sent[who])) for who in ("ce-no", "ce-blocked", "ce-late")}
    assert "not-withdrawn" in reasons["ce-no"]
    assert "consent-unreadable" in reasons["ce-blocked"]
    assert "electronic-optin" in reasons["ce-late"]
    assert (json_of_reason(outputs.held(hostile)), json_of_reason(outputs.held(bare))) == (
        ["undecodable"],
        ["schema-invalid"],
    )
    for held in (hostile, bare, *(sent[who] for who in reasons)):
        (record,) = outputs.held(held)
        assert is_verbatim(record, held)

    # Sent back: once the person has consented, and while the envelope is still none.
    await own.send(consents, envelope(events.consent("ce-late", "c-late")), b"ce-late", HEADERS)
    await own.settled()
    for held in (sent["ce-late"], hostile):
        await send_back(own, (await held_for(own, held))[-1])
    outputs = await own.outputs()
    assert "t-ce-late" in {body["event_id"] for body in outputs.released_to("acme", "ce-late")}
    first, again = outputs.held(hostile)
    assert json_of_reason([again]) == ["undecodable"]
    assert is_verbatim(again, hostile)
    assert again.offset != first.offset

    operator = Operator(own, monkeypatch, capsys)
    code, out, err = await operator("verify", "--json")
    assert (code, [json.loads(out)[name] for name in ("missing", "duplicated", "misrouted")]) == (0, [0, 0, 0]), err
    code, out, err = await operator("audit", "--json")
    assert (code, json.loads(out)["ok"]) == (0, 4), err
    (decision,) = outputs.decided(sent["ce-yes"])
    code, out, err = await operator("policy", "explain", "--decision", decision["decision_id"])
    assert code == 0, err
    code, out, err = await operator("consent", "unreadable", "--output", "json")
    assert len(json.loads(out)) == 1, out + err


def json_of_reason(records: list[Record]) -> list[str]:
    """Every reason in the headers of quarantine records."""
    found = [json.loads(dict(record.headers)["tg-reasons"] or b"") for record in records]
    return list(dict.fromkeys(reason for one in found for reasons in one.values() for reason in reasons))
