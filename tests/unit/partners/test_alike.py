"""Transfers that are made like real ones: the shape stays, and no string of the original comes out."""

import datetime as dt
from typing import Any, Final

import msgspec
import pytest

from tests.support.registry_sample import EXAMPLE
from transfer_gate.model.transfer import is_invented
from transfer_gate.partners.alike import Inventor
from transfer_gate.records.transfers import decode_transfer
from transfer_gate.registry import load_registry

NOW: Final = dt.datetime(2026, 10, 5, 8, tzinfo=dt.UTC)
PARTNER: Final = "acme-assurances"
#: Every place that holds text or a number of the person or the sender, each with a value of its own.
REAL: Final[dict[str, Any]] = {
    "event_id": "canary-event", "requested_at": "2026-09-03T11:22:33Z", "prospect_id": "canary-prospect",
    "partner_ids": [PARTNER, "canary-partner"], "channels": ["email", "sms", "live_call", "postal"],
    "purpose": "canary_purpose", "offer_category": "canary_offer", "use_until": "2026-09-20T12:34:56Z",
    "notice_version": "canary-notice", "collected_at": "2026-01-02T13:14:15Z",
    "last_active_contact": {"at": "2026-08-01T14:15:16Z", "type": "click", "measured_with_consent": True},
    "subject": {"kind": "consumer", "birth_date": "1971-07-17", "country": "MQ", "job": "canary_job"},
    "contact": {
        "email": {"value": "canary.mail@canary-domain.example", "type": "personal"},
        "phone": {"value": "+33639987777", "type": "mobile"},
        "postal": {"lines": ["canary line", "canary street"], "postal_code": "97777", "city": "canary-city",
                   "country": "MQ"},
    },
    "attributes": {"first_name": "canary-name", "canary_attribute": "canary-value", "city": 97531, "housing": True},
    "source": {"role": "reseller", "chain": ["canary-collector", PARTNER]}, "source_restricted": True,
    "partner_roles": {"canary-partner": "processor", PARTNER: "controller"},
    "bloctel": {"listed": False, "checked_at": "2026-08-20T15:16:17Z"},
    "contract": {"holder": "canary-holder", "status": "ongoing", "object": "canary_object"},
    "inbound_request": {"at": "2026-09-01T16:17:18Z", "partner_ids": ["canary-asked"], "object": "canary_asked",
                        "proof_id": "canary-proof", "proof_kept_until": "2029-09-01T17:18:19Z"},
    "canary_unknown": {"canary_inner": "canary-deep"},
}  # fmt: skip
CANARIES: Final = (
    "canary", "9987777", "97777", "97531", "1971-07-17", "11:22:33", "12:34:56", "13:14:15", "14:15:16", "15:16:17",
    "16:17:18", "17:18:19", "2026-09-03",
)  # fmt: skip


@pytest.fixture(scope="module")
def inventor() -> Inventor:
    return Inventor(load_registry(EXAMPLE), NOW)


def test_no_string_of_the_original_comes_out(inventor: Inventor) -> None:
    text = msgspec.json.encode(inventor.invent(decode_transfer(msgspec.json.encode(REAL)))).decode()
    written = msgspec.json.encode(REAL).decode()
    assert [canary for canary in CANARIES if canary not in written] == [], "the test looks for nothing"
    assert [canary for canary in CANARIES if canary in text] == []


def test_what_comes_out_is_an_invented_person_that_the_gate_can_read_with_the_same_shape(inventor: Inventor) -> None:
    real = decode_transfer(msgspec.json.encode(REAL))
    made = decode_transfer(msgspec.json.encode(inventor.invent(real)))
    assert is_invented(made)
    assert made.channels == real.channels
    assert made.partner_ids[0] == PARTNER
    assert len(made.partner_ids) == len(real.partner_ids)
    written, original = (msgspec.json.decode(msgspec.json.encode(body)) for body in (inventor.invent(real), REAL))
    assert set(written) == set(original) - {"canary_unknown"}
    for name in ("subject", "contact", "last_active_contact", "bloctel", "contract", "inbound_request", "source"):
        assert set(written[name]) == set(original[name]), name
    assert written["subject"]["country"] == "MQ"
    assert written["source"]["role"] == "reseller"
    assert len(written["attributes"]) == len(original["attributes"])
    assert len(written["contact"]["email"]["value"]) == len(original["contact"]["email"]["value"])


def test_a_transfer_with_few_fields_gets_no_more(inventor: Inventor) -> None:
    names = ("event_id", "requested_at", "prospect_id", "partner_ids", "channels", "purpose")
    few = {name: REAL[name] for name in names} | {"channels": ["email"]}
    assert set(inventor.invent(decode_transfer(msgspec.json.encode(few)))) == set(names)


def test_one_person_stays_one_person(inventor: Inventor) -> None:
    made = [
        inventor.invent(decode_transfer(msgspec.json.encode(REAL | {"prospect_id": who}))) for who in ("a", "b", "a")
    ]
    people = [one["prospect_id"] for one in made]
    assert people[0] == people[2] != people[1]
    assert len({one["event_id"] for one in made}) == 3
