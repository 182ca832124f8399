"""Facts, rules and obligations asked directly, where no whole decision would come: each holds its own definition."""

import copy
import dataclasses
import datetime as dt
from typing import Any

import pytest

from tests.property.scenarios import CLEAN, KINDS, put, world
from transfer_gate.model.terms import Channel
from transfer_gate.policy import explain
from transfer_gate.policy.catalogue import RULE, RULES, Plan
from transfer_gate.policy.decide import decide
from transfer_gate.policy.explain import facts_read, plain, why_not
from transfer_gate.policy.facts import PHONE_LAW, Facts
from transfer_gate.policy.release import use_before
from transfer_gate.policy.rule import Mark, Rule
from transfer_gate.policy.view import view_of


def _facts(kind: str, channel: Channel, *changes: tuple[str, Any]) -> Facts:
    scenario = copy.deepcopy(CLEAN)
    for path, value in (*KINDS[kind], *changes):
        put(scenario, path, value)
    here = world(scenario)
    f = Facts(view_of(here.registry), here.transfer, here.state, here.t)
    f.turn_to("acme")
    f.look_at(channel)
    return f


@pytest.mark.parametrize("rule", [rule for rule in RULES if any(rule.bases.values())], ids=lambda rule: rule.id)
def test_a_rule_fails_where_what_it_needs_is_missing_should_it_ever_be_asked(rule: Rule) -> None:
    for basis in (basis for basis, marks in rule.bases.items() if marks):
        f = _facts("calls", "live_call", ("transfer.source.role", "reseller"))
        f.basis = basis
        f.partner = f.consent = f.notice = None
        assert not rule.concerns(f)
        assert not rule.holds(f)


@pytest.mark.parametrize("rule", [rule for rule in RULES if any(rule.bases.values())], ids=lambda rule: rule.id)
@pytest.mark.parametrize(
    ("mark", "name", "words"),
    [("p", "partner", "partner file"), ("c", "consent", "relevant consent"), ("n", "notice", "notice")],
)
def test_a_rule_never_raises_for_one_thing_that_is_missing_and_the_explanation_names_it(
    rule: Rule, mark: Mark, name: str, words: str
) -> None:
    for basis in (basis for basis, marks in rule.bases.items() if mark in marks):
        f = _facts("calls", min(rule.channels))
        f.basis, f.kind = basis, min(rule.kinds)
        setattr(f, name, None)
        assert rule.holds(f) in (True, False)
        assert why_not(rule, f) == f"there is no {words}, which another rule reports"


@pytest.mark.parametrize(
    ("kind", "channel", "changes", "apply"),
    [
        ("calls", "live_call", (), True),
        ("calls", "automated_call", (), True),
        ("consent", "email", (), False),
        ("professional", "live_call", (), False),
        ("press", "live_call", (), False),
        ("own contract", "live_call", (), False),
        ("own contract", "automated_call", (("consents", CLEAN["consents"]),), False),
        ("calls", "live_call", (("consents", []),), False),
        ("calls before the law", "live_call", (("consents", CLEAN["consents"]),), False),
    ],
)
def test_the_phone_consent_rules_apply_to(kind: str, channel: Channel, changes: Any, apply: bool) -> None:
    assert _facts(kind, channel, *changes).phone_rules_apply is apply


@pytest.mark.parametrize("channel", ["live_call", "automated_call"])
def test_a_phone_consent_may_be_used_until_a_year_after_the_act(channel: Channel) -> None:
    long = ("transfer.use_until", "2029-01-01T00:00:00Z"), ("consents.0.validity", None)
    f = _facts("calls", channel, *long)
    assert use_before(f) == dt.datetime(2027, 3, 10, 13, tzinfo=dt.UTC)
    without = _facts("calls", channel, *long, ("consents.0.proof", None))
    assert use_before(without) == dt.datetime(2029, 1, 1, tzinfo=dt.UTC)


def test_rules_and_plans_do_not_change() -> None:
    for of, name in ((RULES[0], "id"), (Plan((), (), (), (), 0), "shared")):
        with pytest.raises(AttributeError):
            setattr(of, name, None)


def test_a_law_that_ends_is_not_in_force_at_its_end() -> None:
    bloctel = RULE["phone-optout-bloctel"]
    end, moment = bloctel.end, dt.timedelta(microseconds=1)
    assert end is not None
    assert bloctel.in_force(end - moment, end + dt.timedelta(days=30))
    assert not bloctel.in_force(end, end + dt.timedelta(days=30))
    assert RULE["phone-optin"].in_force(end, end)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("contract.valid_to", "2026-10-05T08:00:01Z", "partner-known-and-contracted"),
        ("listed.0.to", "2026-10-05T08:00:01Z", "partner-listed-now"),
    ],
)
def test_what_ends_in_a_partners_file_ends_for_a_registry_that_has_decided_before(
    path: str, value: str, reason: str
) -> None:
    """What fails for the file alone is remembered by registry: only until something in the file begins or ends."""
    scenario = copy.deepcopy(CLEAN)
    put(scenario, f"registry.partners.acme.{path}", value)
    here = world(scenario)
    assert decide(here.transfer, here.state, here.registry, here.t)[0].released == ("email", "sms")
    (later,) = decide(here.transfer, here.state, here.registry, here.t + dt.timedelta(seconds=1))
    assert later.quarantined == dict.fromkeys(("email", "sms"), (reason,))


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (lambda f: f.subject.kind, "event.subject.kind"),
        (lambda f: f.contact.email, "event.contact.email"),
        (lambda f: f.source.role, "event.source.role"),
        (lambda f: f.bloctel.listed, "event.bloctel.listed"),
        (lambda f: f.proof.individual, "consent.proof.individual"),
        (lambda f: f.guardian.proof_id, "consent.guardian.proof_id"),
        (lambda f: f.act, "act(c)"),
        (lambda f: f.covers, "c covers"),
        (lambda f: f.is_press, "press"),
        (lambda f: f.own_contract, "own contract"),
        (lambda f: f.call_back_until, "call-back until"),
        (lambda f: f.is_valid_at(f.t), "consent not expired"),
        (lambda f: f.left_out_as_future, "consents left out as future"),
        (lambda f: f.told_of_partner, "record that the person was told of the partner"),
        (lambda f: f.partner_role, "role of the partner"),
        (lambda f: f.standing_withdrawal, "withdrawal that stands"),
        (lambda f: f.standing_objection, "objection that stands"),
        (lambda f: f.standing_erasure, "erasure that stands"),
        (lambda f: f.is_future(f.t), "latest time that is not future"),
        (lambda f: f.kind, "kind"),
    ],
)
def test_a_fact_is_told_by_the_name_that_the_rules_give_it(asked: Any, name: str) -> None:
    assert name in dict(facts_read(asked, _facts("calls", "live_call")))


@pytest.mark.parametrize("state", ["given", "renewed"])
def test_a_consent_of_the_future_is_left_out_and_noticed_whatever_its_state(state: str) -> None:
    f = _facts("consent", "email", ("consents.0.event_time", "2027-01-01T00:00:00Z"), ("consents.0.state", state))
    assert f.consent is None
    assert f.left_out_as_future


def test_a_request_of_the_last_moment_that_is_not_future_may_be_answered() -> None:
    f = _facts("call-back", "live_call")
    assert f.call_back_until is not None
    horizon = f.horizon.isoformat()
    assert _facts("call-back", "live_call", ("transfer.inbound_request.at", horizon)).call_back_until is not None
    later = (f.horizon + dt.timedelta(microseconds=1)).isoformat()
    assert _facts("call-back", "live_call", ("transfer.inbound_request.at", later)).call_back_until is None


def test_a_contact_point_is_told_as_present_or_absent() -> None:
    f = _facts("consent", "email", ("transfer.contact.postal", None))
    told = dict(facts_read(lambda f: bool(f.contact.email and f.contact.postal), f))
    assert told == {"event.contact.email": "present", "event.contact.postal": "absent"}


def test_attributes_are_told_by_name_only() -> None:
    f = _facts("consent", "email")
    told = dict(facts_read(lambda f: bool(f.event.attributes), f))
    assert told == {"event.attributes": ["city", "first_name", "shoe_size"]}


def test_the_period_in_which_a_partner_is_listed_is_told_with_both_ends() -> None:
    f = _facts("consent", "email", ("registry.partners.acme.listed.0.to", "2027-01-01T00:00:00+01:00"))
    assert f.partner is not None
    told = plain(f.partner.listed[0])
    assert set(told) == {"from", "to"}
    assert told["to"] == "2026-12-31T23:00:00Z"


def test_a_rule_that_raises_is_explained_as_a_defect() -> None:
    def defective(_: Facts) -> bool:
        raise RuntimeError("a defect")

    rule = dataclasses.replace(RULE["purpose-specific"], holds=defective)
    finding = explain._finding(rule, _facts("consent", "email"))
    assert (finding.verdict, finding.why) == ("raised", "the rule raised RuntimeError: a defect of the gate")


def test_a_reseller_is_told_of_in_the_consent_itself_not_only_on_the_notice() -> None:
    changes: tuple[tuple[str, Any], ...] = (
        ("transfer.source", {"role": "reseller", "chain": ["mag", "helios"]}),
        ("consents.0.proof.collector", "mag"),
    )
    told = ("consents.0.party_ids", ["acme", "helios"])
    assert RULE["no-onward-consent"].holds(_facts("consent", "email", *changes, told))
    assert not RULE["no-onward-consent"].holds(_facts("consent", "email", *changes, ("consents.0.party_ids", ["acme"])))


@pytest.mark.parametrize(("moment", "answered"), [(PHONE_LAW - dt.timedelta(microseconds=1), False), (PHONE_LAW, True)])
def test_a_request_may_be_answered_from_the_first_moment_of_the_law(moment: dt.datetime, answered: bool) -> None:
    asked = (moment - dt.timedelta(hours=1)).isoformat()
    f = _facts("call-back", "live_call", ("transfer.inbound_request.at", asked), ("at", moment.isoformat()))
    assert (f.call_back_until is not None) is answered


@pytest.mark.parametrize(("end", "apply"), [(PHONE_LAW - dt.timedelta(microseconds=1), False), (PHONE_LAW, True)])
def test_the_phone_consent_rules_apply_to_a_campaign_that_ends_in_the_first_moment_of_the_law(
    end: dt.datetime, apply: bool
) -> None:
    before = (PHONE_LAW - dt.timedelta(days=10)).isoformat()
    f = _facts("calls", "automated_call", ("at", before), ("transfer.use_until", end.isoformat()))
    assert f.phone_rules_apply is apply
