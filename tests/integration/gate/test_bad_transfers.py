"""Bad records on `prospect-transfers`: each ends byte for byte in quarantine, and good ones around them flow."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import pytest
import pytest_asyncio

from tests.support.bad_values import LARGE, not_json, not_this_object, with_member
from tests.support.events import Events
from tests.support.headers import FOREIGN, FORGED, check_headers, named, place_of
from tests.support.registry import PARTNERS
from tests.support.stream_gate import Outputs, RecordHeaders, Sent, StreamGate, json_of

EVENTS: Final = Events(dt.datetime.now(dt.UTC))
REQUIRED: Final = ("event_id", "requested_at", "prospect_id", "partner_ids", "channels", "purpose")


def undecodable() -> dict[str, bytes | None]:
    """Transfers of prospect bad-1 that are not JSON."""
    good = EVENTS.transfer("bad-1", "unread")
    return {
        **not_json(good),
        "prospect id named twice": with_member(good, b'"prospect_id":"bad-2"'),
        "unknown member named twice": with_member(good, b'"x":{"y":1,"y":1}'),
        "number beyond every float": changed(good, attributes={"city": 0}).replace(b'"city":0', b'"city":1e400'),
        "deep lists in a field": changed(good, contact="@").replace(b'"@"', b"[" * 100_000 + b"]" * 100_000),
        "wrong type before malformed JSON": changed(good, purpose=7) + b"}",
    }


def misshapen() -> dict[str, bytes]:
    """Transfers of prospect bad-1 that are JSON but not what the contract asks for."""
    good = EVENTS.transfer("bad-1", "misshapen")
    many = [f"partner-{number}" for number in range(51)]
    wrong: dict[str, dict[str, Any]] = {
        "unknown channel": {"channels": ["email", "fax"]},
        "unknown kind": {"subject": {"kind": "robot"}},
        "unknown role": {"source": {"role": "broker"}},
        "no channels": {"channels": []},
        "no partners": {"partner_ids": []},
        "51 partners": {"partner_ids": many},
        "a channel twice": {"channels": ["email", "email"]},
        "a partner twice": {"partner_ids": ["acme", "acme"]},
        "channel and null": {"channels": ["email", None]},
        "partners as text": {"partner_ids": "acme"},
        "event id of 1,000 characters": {"event_id": "e" * 1000},
        "prospect id of 1,000 characters": {"prospect_id": "p" * 1000},
        "partner id of 1,000 characters": {"partner_ids": ["a" * 1000]},
        "empty event id": {"event_id": ""},
        "empty prospect id": {"prospect_id": ""},
        "live call without category": {"channels": ["live_call"], "offer_category": None},
        "phone without a plus": {"contact": {"phone": {"value": "0639980011"}}},
        "attribute as a list": {"attributes": {"city": ["Lyon"]}},
        "attribute null": {"attributes": {"city": None}},
        "restriction as text": {"source_restricted": "false"},
        "country in lower case": {"subject": {"kind": "consumer", "country": "fr"}},
        **{
            f"requested at {time}": {"requested_at": time}
            for time in ("yesterday", "", "2026-01-01", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z")
        },
        "time without offset": {"requested_at": "2026-01-01T00:00:00"},
        "time as a number": {"requested_at": 1767225600},
        "hour 24": {"use_until": "2026-01-01T24:00:00Z"},
        "offset of 99 hours": {"collected_at": "2026-01-01T00:00:00+99:00"},
        "year 0": {"requested_at": "0000-01-01T00:00:00Z"},
        "300 digits for a time": {"requested_at": "@"},
        "300 digits for an id": {"event_id": "@"},
        "wrong type in 900 KB": {"purpose": 7, "note": "A" * LARGE},
    }
    values = {name: changed(good, **changes) for name, changes in wrong.items()}
    digits = b"9" * 300
    return {name: value.replace(b'"@"', digits) for name, value in values.items()} | not_this_object(good, REQUIRED)


def changed(good: bytes, **changes: Any) -> bytes:
    """A JSON object with other members."""
    return orjson.dumps(orjson.loads(good) | changes)


def mistaken_keys() -> dict[str, tuple[bytes | None, bytes]]:
    """Readable transfers under a key that is not their prospect: key and value."""
    good = EVENTS.transfer("bad-1", "mistaken", PARTNERS)
    return {
        "no key": (None, good),
        "empty key": (b"", good),
        "another prospect": (b"bad-2", good),
        "key in quotes": (b'"bad-1"', good),
        "key with a space": (b"bad-1 ", good),
        "invalid UTF-8 in the key": (b"bad-1\xff", good),
        "UTF-16 key": ("bad-1".encode("utf-16"), good),
    }


@dataclass
class Run:
    """What was sent, by name of the case, and what came out."""

    sent: dict[str, Sent] = field(default_factory=dict)
    good: list[Sent] = field(default_factory=list)
    outputs: Outputs = field(default_factory=Outputs)


UNDECODABLE: Final = undecodable()
MISSHAPEN: Final = misshapen()
MISTAKEN_KEYS: Final = mistaken_keys()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run(gate: StreamGate) -> Run:
    """Every bad record, each with a good one behind it."""
    result = Run()
    topic = gate.topics.transfers
    await gate.consent("bad-1")

    async def put(name: str, key: bytes | None, value: bytes | None, headers: RecordHeaders = ()) -> None:
        assert name not in result.sent
        result.sent[name] = await gate.send(topic, value, key, headers)
        good = EVENTS.transfer("bad-1", f"good-{len(result.good)}")
        result.good.append(await gate.send(topic, good, b"bad-1"))

    for name, value in (UNDECODABLE | MISSHAPEN).items():
        await put(name, b"bad-1", value, [*FORGED, *FOREIGN])
    for name, (key, value) in MISTAKEN_KEYS.items():
        await put(name, key, value, FOREIGN)
    await put("no value and no key", None, None)
    result.outputs = await gate.outputs()
    return result


def check_whole(run: Run, name: str, stage: str, reason: str) -> None:
    """One quarantine record for the whole input record, and one decision that explains it."""
    sent = run.sent[name]
    (record,) = run.outputs.held(sent)
    assert (record.key, record.value, record.partition) == (sent.key, sent.value, sent.place[1])
    decision_id = named(f"decision:{place_of(sent)}")
    reasons = f'{{"*":["{reason}"]}}'
    check_headers(record, sent, tg_stage=stage, tg_reason=reason, tg_reasons=reasons, tg_decision_id=decision_id)
    (decision,) = run.outputs.decided(sent)
    assert decision["decision_id"] == decision_id
    assert (decision["event_id"], decision["prospect_id"], decision["partner_id"]) == (None, None, None)
    assert (decision["released"], decision["quarantined"]) == ([], {"*": [reason]})


@pytest.mark.parametrize("name", [*UNDECODABLE, "no value and no key"])
def test_what_is_not_json_is_quarantined_whole_as_undecodable(run: Run, name: str) -> None:
    check_whole(run, name, "decode", "undecodable")


@pytest.mark.parametrize("name", MISSHAPEN)
def test_what_is_not_a_transfer_is_quarantined_whole_as_schema_invalid(run: Run, name: str) -> None:
    check_whole(run, name, "schema", "schema-invalid")


@pytest.mark.parametrize("name", MISTAKEN_KEYS)
def test_a_transfer_under_another_key_is_quarantined_for_each_partner_as_key_mismatch(run: Run, name: str) -> None:
    sent = run.sent[name]
    held = {(dict(record.headers)["tg-partner"] or b"").decode(): record for record in run.outputs.held(sent)}
    assert sorted(held) == sorted(PARTNERS)
    assert len(run.outputs.held(sent)) == len(PARTNERS)
    for partner, record in held.items():
        assert (record.key, record.value, record.partition) == (sent.key, sent.value, sent.place[1])
        check_headers(
            record,
            sent,
            partner,
            tg_stage="schema",
            tg_reason="key-mismatch",
            tg_reasons='{"email":["key-mismatch"],"sms":["key-mismatch"]}',
            tg_channels='["email","sms"]',
            tg_decision_id=named(f"decision:{place_of(sent, partner)}"),
        )
    decided = run.outputs.decided(sent)
    assert [decision["partner_id"] for decision in decided] == list(PARTNERS)
    assert all(decision["released"] == [] for decision in decided)


def test_good_records_between_bad_ones_are_released_once_and_nothing_else_is(run: Run) -> None:
    released = {
        partner: [body["event_id"] for body in run.outputs.released_to(partner, "bad-1", "bad-2")]
        for partner in PARTNERS
    }
    assert released == {"acme": [json_of(sent)["event_id"] for sent in run.good], "helios": [], "lumen": []}
    assert not any(run.outputs.held(sent) for sent in run.good)


def test_the_worker_that_read_all_this_still_runs_and_logged_nothing_about_it(run: Run, gate: StreamGate) -> None:
    assert len(gate.place.workers) == 1
    assert gate.worker.running
    lines = gate.worker.log.read_text(encoding="utf-8").lower().splitlines()
    # A broker that just started looks for its group coordinator once; aiokafka says so as an error.
    assert not [line for line in lines if "error" in line and "[aiokafka." not in line]
    assert not [line for line in lines if "traceback" in line]
