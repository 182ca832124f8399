"""The decision is what rules.md says, read a second time by the oracle."""

import datetime as dt

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.oracle import Verdict, verdict
from tests.property.scenarios import CLEAN, KINDS, Objects, put, received_events, scenarios, world
from transfer_gate.cases.written_stops import WrittenStop, stops_of
from transfer_gate.model.decision import PartnerDecision
from transfer_gate.policy.decide import decide


def _as_verdict(decision: PartnerDecision) -> Verdict:
    found = Verdict(
        released=list(decision.released),
        quarantined={channel: list(reasons) for channel, reasons in decision.quarantined.items()},
        contact={},
        attributes={},
        record_ids=decision.record_ids,
    )
    if decision.release is not None:
        contact, obligations = decision.release.contact, decision.release.obligations
        points = {name: getattr(contact, name) for name in contact.__struct_fields__}
        found.contact = {name: point for name, point in points.items() if point is not None}
        found.attributes = decision.release.attributes
        found.use_before = obligations.use_before
        found.art14_due_at = obligations.art14_due_at
        found.time_zone = obligations.call_window.time_zone if obligations.call_window else None
        found.max_call_attempts = obligations.max_call_attempts
        found.call_slots = obligations.call_slots
    return found


def _check(scenario: Objects) -> None:
    here = world(scenario)
    stops = stops_of(here.transfer, [WrittenStop.model_validate(stop) for stop in scenario.get("stops", ())])
    decisions = decide(here.transfer, here.state, here.registry, here.t, stops)
    assert [decision.partner_id for decision in decisions] == list(here.transfer.partner_ids)
    for decision in decisions:
        expected = verdict(here.transfer, here.events, here.registry, here.t, decision.partner_id, stops, here.received)
        expected.contact = {name: point for name, point in expected.contact.items() if point is not None}
        assert _as_verdict(decision) == expected
        assert decision.rule_errors == ()


@pytest.mark.parametrize("kind", KINDS)
def test_every_clean_scenario_is_a_release(kind: str) -> None:
    scenario = msgspec.json.decode(msgspec.json.encode(CLEAN))
    for path, value in KINDS[kind]:
        put(scenario, path, value)
    here = world(scenario)
    (decision,) = decide(here.transfer, here.state, here.registry, here.t)
    assert decision.released == here.transfer.channels
    _check(scenario)


@settings(max_examples=1500, deadline=None)
@given(scenarios())
def test_the_decision_is_what_rules_md_says(scenario: Objects) -> None:
    _check(scenario)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_decision_is_what_rules_md_says_when_much_is_wrong_at_once(data: st.DataObject) -> None:
    _check(data.draw(scenarios(most_changes=25)))


@settings(max_examples=700, deadline=None)
@given(scenarios(), received_events())
def test_the_decision_is_what_rules_md_says_of_events_received_before_their_date_and_again(
    scenario: Objects, more: tuple[list[Objects], list[dt.datetime | None]]
) -> None:
    events, received = more
    scenario["received"] = [*[None] * len(scenario["consents"]), *received]
    scenario["consents"] += events
    _check(scenario)
