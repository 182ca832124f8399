"""Bad records on `consent-events`: each is copied byte for byte and blocks its prospect until resolved."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import pytest
import pytest_asyncio

from tests.support.bad_values import LARGE, not_json, not_this_object, with_member
from tests.support.events import Events
from tests.support.headers import FOREIGN, FORGED, check_headers
from tests.support.stream_gate import Outputs, Sent, StreamGate

EVENTS: Final = Events(dt.datetime.now(dt.UTC))
#: Stands for the prospect of a case in its value.
ANYBODY: Final = "somebody"
COMMON: Final = ("event_id", "prospect_id", "type", "event_time")
CONSENT: Final = EVENTS.consent(ANYBODY, "c-bad")
WITHDRAWAL: Final = EVENTS.against("withdrawal", ANYBODY, "w-bad")


def changed(good: bytes, **changes: Any) -> bytes:
    """A JSON object with other members."""
    return orjson.dumps(orjson.loads(good) | changes)


def unreadable() -> dict[str, bytes | None]:
    """Values that might have been a withdrawal."""
    wrong: dict[str, bytes] = {
        "unknown type": changed(WITHDRAWAL, type="second thoughts"),
        "unknown state": changed(CONSENT, state="perhaps"),
        "unknown channel": changed(CONSENT, channels=["email", "fax"]),
        "unknown basis": changed(CONSENT, lawful_basis="curiosity"),
        "unknown channel in a scope": changed(WITHDRAWAL, scope={"channels": ["fax"]}),
        "scope of a word": changed(WITHDRAWAL, scope="all"),
        "scope of numbers": changed(WITHDRAWAL, scope={"party_ids": [7]}),
        "validity in words": changed(CONSENT, validity="one year"),
        "validity of 300 digits": changed(CONSENT, validity=f"P{'9' * 300}D"),
        "time without offset": changed(WITHDRAWAL, event_time="2026-01-01T00:00:00"),
        "time of 300 digits": changed(WITHDRAWAL, event_time="@").replace(b'"@"', b"9" * 300),
        "event id of 1,000 characters": changed(WITHDRAWAL, event_id="e" * 1000),
        "proof as text": changed(CONSENT, proof="signed"),
        "another prospect than the key": changed(WITHDRAWAL, prospect_id="somebody else"),
        "member named twice": with_member(CONSENT, b'"state":"given"'),
        "two types": with_member(CONSENT, b'"type":"withdrawal"'),
        "consent without record id": changed(CONSENT, record_id=None),
        "resolution without offsets": changed(WITHDRAWAL, type="resolution"),
        "resolution of a negative offset": changed(WITHDRAWAL, type="resolution", resolves=[-1]),
        "resolution of half an offset": changed(WITHDRAWAL, type="resolution", resolves=[0.5]),
        "resolution of an offset as text": changed(WITHDRAWAL, type="resolution", resolves=["0"]),
        "900 KB of parties and a wrong one": changed(
            WITHDRAWAL, scope={"party_ids": ["a" * 100] * (LARGE // 110) + [7]}
        ),
    }
    of_withdrawal = {f"withdrawal: {name}": value for name, value in not_this_object(WITHDRAWAL, COMMON).items()}
    of_consent = {
        f"consent: {name}": value
        for name, value in not_this_object(CONSENT, (*COMMON, "record_id", "state")).items()
        if name.startswith(("record_id", "state"))
    }
    return not_json(WITHDRAWAL) | wrong | of_withdrawal | of_consent


UNREADABLE: Final = unreadable()
#: Readable values that look strange: they count, and block nobody.
ODD: Final[dict[str, bytes | None]] = {
    "unknown fields": with_member(CONSENT, b'"x":[{"y":null}]'),
    "unknown field of 900 KB": with_member(CONSENT, b'"x":"' + b"A" * LARGE + b'"'),
    "number beyond every float in an unknown field": with_member(CONSENT, b'"x":1e400'),
    "notice of 128 characters": changed(CONSENT, offer_categories=["字" * 128]),
    "parties of 500 KB": changed(CONSENT, party_ids=["acme", *(f"{n:0100}" for n in range(5000))]),
    "proof kept until the last year": changed(
        CONSENT, proof=orjson.loads(CONSENT)["proof"] | {"kept_until": "9999-12-31T23:59:59-14:00"}
    ),
}


@dataclass
class Run:
    """What was sent, by name of the case, and what came out."""

    consents: dict[str, Sent] = field(default_factory=dict)
    transfers: dict[str, Sent] = field(default_factory=dict)
    resolved: dict[str, Sent] = field(default_factory=dict)
    outputs: Outputs = field(default_factory=Outputs)
    unreadable_before: float = 0
    unreadable_after: float = 0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run(gate: StreamGate) -> Run:
    """Every case on a prospect of its own with a valid consent; then a transfer, a resolution, a second transfer."""
    result = Run(unreadable_before=gate.worker.metric("transfer_gate_unreadable_consents_total"))

    async def transfer(name: str, number: int, event_id: str) -> Sent:
        prospect = f"consent-{number}"
        value = gate.events.transfer(prospect, event_id)
        return await gate.send(gate.topics.transfers, value, prospect.encode())

    for number, (name, value) in enumerate((UNREADABLE | ODD).items()):
        prospect = f"consent-{number}"
        if name in UNREADABLE:
            await gate.consent(prospect)
        named = value.replace(f'"{ANYBODY}"'.encode(), f'"{prospect}"'.encode()) if value else value
        result.consents[name] = await gate.send(gate.topics.consents, named, prospect.encode(), [*FORGED, *FOREIGN])
        result.transfers[name] = await transfer(name, number, f"first-{prospect}")
    await gate.settled()  # a busy gate would decide the first transfers after their resolutions
    for number, name in enumerate(UNREADABLE):
        resolution = {
            "event_id": f"resolution-{number}",
            "prospect_id": f"consent-{number}",
            "type": "resolution",
            "event_time": dt.datetime.now(dt.UTC).isoformat(),
            # Every other one names an offset that was not the unreadable one.
            "resolves": [result.consents[name].place[2] + (1 if number % 2 else 0)],
            "by": "dpo",
            "why": "the source confirmed that it was a consent",
        }
        key = f"consent-{number}".encode()
        await gate.send(gate.topics.consents, orjson.dumps(resolution), key)
        result.resolved[name] = await transfer(name, number, f"second-consent-{number}")
    for number, nobody in enumerate((None, b"")):
        name = f"key {nobody!r}"
        result.consents[name] = await gate.send(gate.topics.consents, WITHDRAWAL, nobody, FOREIGN, number)
    result.outputs = await gate.outputs()
    result.unreadable_after = gate.worker.metric("transfer_gate_unreadable_consents_total")
    return result


def check_copy(run: Run, name: str) -> None:
    """The copy of a consent event that nobody could read."""
    sent = run.consents[name]
    (record,) = run.outputs.held(sent)
    assert (record.key, record.value, record.partition) == (sent.key, sent.value, sent.place[1])
    check_headers(
        record,
        sent,
        tg_stage="consent",
        tg_reason="consent-unreadable",
        tg_reasons='{"*":["consent-unreadable"]}',
    )
    assert run.outputs.decided(sent) == []


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_consent_event_is_copied_to_quarantine(run: Run, name: str) -> None:
    check_copy(run, name)


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_consent_event_blocks_its_prospect_whatever_was_consented_before(run: Run, name: str) -> None:
    sent = run.transfers[name]
    (decision,) = run.outputs.decided(sent)
    assert decision["released"] == []
    assert decision["quarantined"] == {"email": ["consent-unreadable"], "sms": ["consent-unreadable"]}
    (record,) = run.outputs.held(sent)
    assert record.value == sent.value
    headers = dict(record.headers)
    assert (headers["tg-stage"], headers["tg-reason"]) == (b"policy", b"consent-unreadable")


@pytest.mark.parametrize("name", UNREADABLE)
def test_only_a_resolution_of_the_very_offset_lifts_the_block(run: Run, name: str) -> None:
    (decision,) = run.outputs.decided(run.resolved[name])
    if list(UNREADABLE).index(name) % 2:
        assert decision["released"] == []
        assert decision["quarantined"]["email"] == ["consent-unreadable"]
    else:
        assert (decision["released"], decision["quarantined"]) == (["email", "sms"], {})


@pytest.mark.parametrize("name", ["key None", "key b''"])
def test_an_unreadable_consent_event_of_nobody_is_copied_as_well(run: Run, name: str) -> None:
    check_copy(run, name)


@pytest.mark.parametrize("name", ODD)
def test_a_strange_consent_that_can_be_read_counts(run: Run, name: str) -> None:
    assert run.outputs.held(run.consents[name]) == []
    (decision,) = run.outputs.decided(run.transfers[name])
    assert (decision["released"], decision["quarantined"]) == (["email", "sms"], {})


def test_every_unreadable_consent_event_is_counted(run: Run) -> None:
    assert run.unreadable_after - run.unreadable_before == len(UNREADABLE) + 2


def test_the_worker_that_read_all_this_still_runs(run: Run, gate: StreamGate) -> None:
    assert len(gate.place.workers) == 1
    assert gate.worker.running
