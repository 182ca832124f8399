"""Transfers that look strange but are readable: they are decided like any other, and what goes out is as it came in."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.support.bad_values import LARGE, with_member
from tests.support.headers import FOREIGN, FORGED, check_headers, named, place_of
from tests.support.stream_gate import Outputs, Sent, StreamGate, json_of

EIGHT: Final = "👩‍💻éß字\u200d\u0000"
LONGEST: Final = "字" * 128
MANY: Final = ("acme", *(f"unknown-{number}" for number in range(49)))

#: Changes to a good transfer that release it to acme.
RELEASED: Final[dict[str, dict[str, Any]]] = {
    "nothing": {},
    "unknown fields": {"x": 1, "tg-reason": "none", "contact_2": {"email": "claire@courriel.example"}},
    "an event id of odd characters": {"event_id": EIGHT},
    "an event id of 128 characters": {"event_id": LONGEST},
    "an event id like a name of the gate": {"event_id": "transfer:1:acme"},
    "year 1": {"requested_at": "0001-01-01T00:00:00+14:00"},
    "an attribute in odd characters": {"attributes": {"city": EIGHT}},
    "an attribute of 300 digits": {"attributes": {"city": 10**300}},
    "an attribute that is tiny": {"attributes": {"city": 1e-300}},
    "an attribute true": {"attributes": {"city": True}},
    "an attribute of 900 KB": {"attributes": {"city": "A" * LARGE}},
    "an attribute that the policy does not know": {"attributes": {"salary": 1}},
    "an unknown field of 900 KB": {"x": "A" * LARGE},
    "an unknown field in 300 digits": {"x": 10**300},
    "lower case time": {"requested_at": "2026-01-01t00:00:00z"},
    "nine decimals": {"requested_at": "2026-01-01T00:00:00.123456789Z"},
}
#: Changes to a good transfer that hold it back, and a reason for both channels.
HELD: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "a request from the future": ({"requested_at": "9999-12-31T23:59:59-14:00"}, "clock-sane"),
    "a window that is over": ({"use_until": "2020-01-01T00:00:00Z"}, "use-window-open"),
    "another country": (
        {"subject": {"kind": "consumer", "birth_date": "1985-06-15", "country": "BE"}},
        "jurisdiction-covered",
    ),
    "a hidden profile": ({"source_restricted": True}, "source-visibility-respected"),
    "no contact": ({"contact": None}, "contact-point-present"),
    "an unknown purpose": ({"purpose": "speed_dating"}, "purpose-specific"),
}


@dataclass
class Run:
    """What was sent, by name of the case, and what came out."""

    sent: dict[str, Sent] = field(default_factory=dict)
    outputs: Outputs = field(default_factory=Outputs)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run(gate: StreamGate) -> Run:
    """Every case under a prospect and an event id of its own."""
    result = Run()

    async def put(name: str, changes: dict[str, Any], more: bytes = b"") -> None:
        prospect = f"odd-{len(result.sent)}"
        await gate.consent(prospect)
        body = json.loads(gate.events.transfer(prospect, f"event-{prospect}")) | changes
        value = json.dumps(body).encode()
        value = with_member(value, more) if more else value
        result.sent[name] = await gate.send(gate.topics.transfers, value, prospect.encode(), [*FORGED, *FOREIGN])

    for name, changes in RELEASED.items():
        await put(name, changes)
    for name, (changes, _) in HELD.items():
        await put(name, changes)
    await put("a number beyond every float", {}, b'"x":1e400')
    await put("channels named twice", {"channels": ["email", "sms"]}, b'"channels":["sms"]')
    await put("an unknown partner", {"partner_ids": ["acme", "Ü-👻"]})
    await put("fifty partners", {"partner_ids": MANY})
    result.outputs = await gate.outputs()
    return result


def of_acme(run: Run, name: str) -> dict[str, Any]:
    """The one record that acme got of a case."""
    (body,) = run.outputs.released_to("acme", json_of(run.sent[name])["prospect_id"])
    return body


@pytest.mark.parametrize("name", RELEASED)
def test_a_strange_transfer_that_can_be_read_is_released_as_it_came(run: Run, name: str) -> None:
    sent, body = run.sent[name], of_acme(run, name)
    asked = json_of(sent)
    assert body["event_id"] == asked["event_id"]
    assert body["transfer_id"] == named(f"transfer:{asked['event_id']}:acme")
    assert body["attributes"] == {
        key: value for key, value in asked["attributes"].items() if key in ("first_name", "city")
    }
    assert body["channels"] == ["email", "sms"]
    assert run.outputs.held(sent) == []
    (decision,) = run.outputs.decided(sent)
    assert (decision["event_id"], decision["quarantined"]) == (asked["event_id"], {})


@pytest.mark.parametrize("name", HELD)
def test_a_strange_transfer_that_breaks_a_rule_is_held_as_it_came(run: Run, name: str) -> None:
    sent, reason = run.sent[name], HELD[name][1]
    (record,) = run.outputs.held(sent)
    assert (record.key, record.value, record.partition) == (sent.key, sent.value, sent.place[1])
    (decision,) = run.outputs.decided(sent)
    reasons = decision["quarantined"]
    assert set(reasons) == {"email", "sms"}
    assert all(reason in listed for listed in reasons.values())
    check_headers(
        record,
        sent,
        "acme",
        tg_stage="policy",
        tg_reason=reasons["email"][0],
        tg_reasons=json.dumps(reasons, separators=(",", ":")),
        tg_channels='["email","sms"]',
        tg_decision_id=named(f"decision:{place_of(sent, 'acme')}"),
    )


def test_a_number_beyond_every_float_in_an_unknown_field_does_no_harm(run: Run) -> None:
    assert of_acme(run, "a number beyond every float")["channels"] == ["email", "sms"]


def test_an_object_that_names_a_member_twice_is_undecodable(run: Run) -> None:
    (record,) = run.outputs.held(run.sent["channels named twice"])
    assert dict(record.headers)["tg-reason"] == b"undecodable"


def test_an_unknown_partner_is_held_beside_a_known_one_that_is_served(run: Run) -> None:
    sent = run.sent["an unknown partner"]
    assert of_acme(run, "an unknown partner")["channels"] == ["email", "sms"]
    (record,) = run.outputs.held(sent)
    assert record.value == sent.value
    check_headers(
        record,
        sent,
        "Ü-👻",
        tg_stage="policy",
        tg_reason="partner-unknown",
        tg_reasons=json.dumps(run.outputs.decided(sent)[1]["quarantined"], separators=(",", ":")),
        tg_channels='["email","sms"]',
        tg_decision_id=named(f"decision:{place_of(sent, 'Ü-👻')}"),
    )


def test_of_fifty_partners_each_has_its_decision_and_its_place(run: Run) -> None:
    sent = run.sent["fifty partners"]
    assert [decision["partner_id"] for decision in run.outputs.decided(sent)] == list(MANY)
    held = [dict(record.headers)["tg-partner"] for record in run.outputs.held(sent)]
    assert held == [partner.encode() for partner in MANY[1:]]
    assert of_acme(run, "fifty partners")["partner_id"] == "acme"
