"""What the gate writes, field by field, against contract section 5 as it is spelt there."""

import datetime as dt
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import pytest_asyncio

from tests.support.headers import FOREIGN, FORGED, check_headers, named, place_of
from tests.support.registry import PARTNERS
from tests.support.stream_gate import Outputs, Sent, StreamGate, json_of
from transfer_gate import __version__
from transfer_gate.gate.inbox import Record
from transfer_gate.model.state import EMPTY
from transfer_gate.policy.fold import fold
from transfer_gate.records.consents import decode_consent
from transfer_gate.records.state import decode_state
from transfer_gate.registry import load_registry

SCHEMAS: Final = Path(__file__).parents[3] / "schemas"
PARTITION: Final = 1
ALL: Final = "out-all"  # consented to both channels and all partners
MAIL: Final = "out-mail"  # consented to e-mail by acme only
LEFT: Final = "out-lost"  # withdrew from helios


@dataclass
class Run:
    """What was sent and what came out."""

    began: dt.datetime
    revision: str
    consents: list[Sent] = field(default_factory=list)
    transfers: dict[str, Sent] = field(default_factory=dict)
    outputs: Outputs = field(default_factory=Outputs)

    def decision(self, prospect: str, partner: str) -> dict[str, Any]:
        """The one decision about a transfer and a partner."""
        (found,) = (one for one in self.outputs.decided(self.transfers[prospect]) if one["partner_id"] == partner)
        return found

    def release(self, prospect: str, partner: str) -> Record:
        """The one released record of a prospect."""
        (found,) = (one for one in self.outputs.released[partner] if json_of(one)["prospect_id"] == prospect)
        return found

    def held(self, prospect: str, partner: str) -> Record:
        """The one quarantine record of a transfer and a partner."""
        held = self.outputs.held(self.transfers[prospect])
        (found,) = (one for one in held if dict(one.headers)["tg-partner"] == partner.encode())
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run(gate: StreamGate) -> Run:
    """Three prospects, one transfer each to every partner by both channels."""
    registry = load_registry(gate.place.folder / "registry")
    result = Run(dt.datetime.now(dt.UTC), registry.revision)
    events, topics = gate.events, gate.topics

    async def consent(prospect: str, value: bytes) -> None:
        result.consents.append(await gate.send(topics.consents, value, prospect.encode(), partition=PARTITION))

    for prospect, members in {
        ALL: {},
        MAIL: {"channels": ["email"], "party_ids": ["acme"], "validity": "P2D"},
        LEFT: {},
    }.items():
        given = json.loads(events.consent(prospect, f"given-{prospect}", record_id=f"record-{prospect}"))
        if prospect == MAIL:
            given["event_time"] = result.began.isoformat()
        await consent(prospect, json.dumps(given | members).encode())
    await gate.settled()  # in a round of its own
    await consent(ALL, result.consents[0].value or b"")
    left = json.loads(events.against("withdrawal", LEFT, "left")) | {"scope": {"party_ids": ["helios"]}}
    await consent(LEFT, json.dumps(left).encode())
    for prospect in (ALL, MAIL, LEFT):
        value = events.transfer(prospect, f"event-{prospect}", PARTNERS)
        result.transfers[prospect] = await gate.send(
            topics.transfers, value, prospect.encode(), [*FORGED, *FOREIGN], PARTITION
        )
    result.outputs = await gate.outputs()
    return result


def at(text: str) -> dt.datetime:
    """A time of an output: RFC 3339, in UTC."""
    time = dt.datetime.fromisoformat(text)
    assert time.utcoffset() == dt.timedelta(0)
    return time


@pytest.mark.parametrize("partner", PARTNERS)
def test_a_released_record_holds_what_the_partner_may_have_and_nothing_more(run: Run, partner: str) -> None:
    record, source = run.release(ALL, partner), json_of(run.transfers[ALL])
    decision = run.decision(ALL, partner)
    body = json_of(record)
    obligations = body.pop("obligations")
    assert body == {
        "transfer_id": named(f"transfer:event-{ALL}:{partner}"),
        "decision_id": named(f"decision:{place_of(run.transfers[ALL], partner)}"),
        "event_id": f"event-{ALL}",
        "partner_id": partner,
        "prospect_id": ALL,
        "released_at": decision["decided_at"],
        "purpose": "direct_marketing",
        "offer_category": "insurance",
        "channels": ["email", "sms"],
        "contact": source["contact"],
        "attributes": source["attributes"],
        "policy": {"jurisdiction": "FR", "revision": run.revision},
    }
    assert set(obligations) == {"use_before", "art14_due_at", "call_window", "max_call_attempts", "call_slots"}
    assert at(obligations["use_before"]) == at(decision["decided_at"]) + dt.timedelta(days=30)
    assert dt.timedelta(27) < at(obligations["art14_due_at"]) - at(decision["decided_at"]) < dt.timedelta(32)
    assert (obligations["call_window"], obligations["max_call_attempts"]) == (None, None)


@pytest.mark.parametrize("partner", PARTNERS)
def test_a_released_record_travels_under_its_prospect_with_three_headers(run: Run, partner: str) -> None:
    record = run.release(ALL, partner)
    assert (record.topic, record.key, record.partition) == (f"{topic_prefix(run)}partner.{partner}", ALL.encode(), 1)
    assert list(record.headers) == [
        ("tg-transfer-id", named(f"transfer:event-{ALL}:{partner}").encode()),
        ("tg-decision-id", named(f"decision:{place_of(run.transfers[ALL], partner)}").encode()),
        ("content-type", b"application/json"),
    ]


def topic_prefix(run: Run) -> str:
    """What stands in front of every topic name."""
    return run.transfers[ALL].place[0].removesuffix("prospect-transfers")


def test_of_the_contact_only_the_points_of_released_channels_leave(run: Run) -> None:
    body = json_of(run.release(MAIL, "acme"))
    assert body["channels"] == ["email"]
    assert body["contact"] == {"email": json_of(run.transfers[MAIL])["contact"]["email"]}
    consented = dt.datetime.fromisoformat(json_of(run.consents[1])["event_time"])
    assert at(body["obligations"]["use_before"]) == consented + dt.timedelta(days=2)


def test_a_partly_released_transfer_is_held_for_the_other_channels_byte_for_byte(run: Run) -> None:
    sent, record = run.transfers[MAIL], run.held(MAIL, "acme")
    assert (record.key, record.value, record.partition) == (sent.key, sent.value, PARTITION)
    reasons = run.decision(MAIL, "acme")["quarantined"]
    assert list(reasons) == ["sms"]
    assert "electronic-optin" in reasons["sms"]
    check_headers(
        record,
        sent,
        "acme",
        tg_stage="policy",
        tg_reason=reasons["sms"][0],
        tg_reasons=json.dumps(reasons, separators=(",", ":")),
        tg_channels='["sms"]',
        tg_decision_id=named(f"decision:{place_of(sent, 'acme')}"),
    )


def test_a_quarantine_record_tells_the_policy_the_consent_offset_and_the_time_of_its_decision(run: Run) -> None:
    headers, decision = dict(run.held(LEFT, "helios").headers), run.decision(LEFT, "helios")
    assert decision["quarantined"] == {"email": ["not-withdrawn"], "sms": ["not-withdrawn"]}
    assert (headers["tg-policy-revision"] or b"").decode() == run.revision
    assert int(headers["tg-consent-offset"] or b"") == decision["consent"]["offset"]
    assert (headers["tg-quarantined-at"] or b"").decode() == decision["decided_at"]


def test_quarantine_is_stamped_by_the_broker_and_nothing_else_is(run: Run) -> None:
    log_append_time = 1
    assert {record.timestamp_type for record in run.outputs.held(run.transfers[LEFT])} == {log_append_time}
    assert run.release(ALL, "acme").timestamp_type != log_append_time


@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("prospect", [ALL, MAIL, LEFT])
def test_there_is_one_decision_for_each_event_and_partner(run: Run, prospect: str, partner: str) -> None:
    sent, decision = run.transfers[prospect], run.decision(prospect, partner)
    topic, partition, offset = sent.place
    decided_at = at(decision.pop("decided_at"))
    assert run.began < decided_at < dt.datetime.now(dt.UTC)
    released, quarantined = decision.pop("released"), decision.pop("quarantined")
    assert sorted([*released, *quarantined]) == ["email", "sms"]
    seen = decision.pop("consent")
    applied = [one for one in run.consents if json_of(one)["prospect_id"] == prospect]
    assert seen["offset"] > max(one.place[2] for one in applied)
    assert seen["record_ids"] == [f"record-{prospect}"]
    assert decision == {
        "decision_id": named(f"decision:{place_of(sent, partner)}"),
        "source": {"topic": topic, "partition": partition, "offset": offset},
        "event_id": f"event-{prospect}",
        "prospect_id": prospect,
        "partner_id": partner,
        "policy": {"jurisdiction": "FR", "revision": run.revision, "gate_version": __version__},
        "input_sha256": hashlib.sha256(sent.value or b"").hexdigest(),
        "attempt": 1,
        "replay_run": None,
        "rule_errors": [],
    }


@pytest.mark.parametrize("prospect", [ALL, MAIL, LEFT])
def test_decisions_stand_beside_their_input_and_hold_no_contact_data(run: Run, prospect: str) -> None:
    sent = run.transfers[prospect]
    records = run.outputs.decisions[sent.place]
    assert [(record.key, record.partition, list(record.headers)) for record in records] == [
        (prospect.encode(), PARTITION, [])
    ] * len(PARTNERS)
    contact = json_of(sent)["contact"]
    for record in records:
        for personal in (contact["email"]["value"], contact["phone"]["value"], "Claire", "Lyon"):
            assert personal.encode() not in (record.value or b"")


def test_outputs_are_as_their_published_schemas_say(run: Run) -> None:
    released = jsonschema.Draft202012Validator(json.loads((SCHEMAS / "released-record.schema.json").read_bytes()))
    decided = jsonschema.Draft202012Validator(json.loads((SCHEMAS / "decision-record.schema.json").read_bytes()))
    for record in (*run.outputs.released["acme"], *run.outputs.released["lumen"]):
        released.validate(json_of(record))
    for records in run.outputs.decisions.values():
        for record in records:
            decided.validate(json_of(record))


@pytest.mark.parametrize("prospect", [ALL, MAIL, LEFT])
def test_the_changelog_holds_the_fold_of_the_consent_events_of_each_prospect(run: Run, prospect: str) -> None:
    key, state = prospect.encode(), EMPTY
    for sent in run.consents:
        if sent.key == key:
            state = fold(state, decode_consent(sent.value, key), sent.place[2])
    written = [record for record in run.outputs.changelog if record.key == key]
    assert decode_state(written[-1].value) == state
    assert {record.partition for record in written} == {PARTITION}


def test_a_repeated_consent_event_writes_nothing_to_the_changelog(run: Run) -> None:
    assert len([record for record in run.outputs.changelog if record.key == ALL.encode()]) == 1
