"""Properties of the decision that hold whatever the rules say (issue 4, point 5)."""

import copy
import datetime as dt
import json

import msgspec
import pytest
from demarchage_consent import assess_consent, evaluate_consent
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.property.scenarios import CHANNELS, CLEAN, CONSENT, INSTANTS, KINDS, Objects, put, scenarios, world
from transfer_gate.model.terms import RANK
from transfer_gate.policy.catalogue import GUARD, RULES
from transfer_gate.policy.decide import decide, gate_reasons
from transfer_gate.policy.explain import explain
from transfer_gate.policy.facts import Facts
from transfer_gate.policy.view import view_of
from transfer_gate.records.consents import Unreadable, decode_consent
from transfer_gate.records.transfers import SchemaInvalid, decode_transfer
from transfer_gate.registry import InvalidRegistry, registry_from_objects

_thorough = settings(max_examples=400, deadline=None)

#: What speaks for a release. Left out: what limits or classifies (`validity`, `published_to`, `subject.kind`, the
#: contact point's type, registration numbers), whose absence may well open a channel.
EVIDENCE = [
    "registry.partners.acme",
    "registry.partners.acme.country",
    "registry.partners.acme.role",
    "registry.partners.acme.contract",
    "registry.partners.acme.contract.valid_from",
    "registry.partners.acme.contract.no_onward",
    "registry.partners.acme.suppression",
    "registry.partners.acme.listed",
    "registry.partners.acme.categories",
    "registry.notices.n-1",
    "registry.notices.n-1.published_from",
    "registry.notices.n-1.text_hash",
    "registry.notices.n-1.purposes",
    "registry.notices.n-1.partner_list",
    "registry.notices.n-1.partner_list.version",
    "registry.notices.n-1.partner_list.mode",
    "registry.notices.n-1.partner_list.exhaustive",
    "registry.notices.n-1.partner_list.party_ids",
    "registry.notices.n-1.recipient_categories",
    "registry.notices.n-1.objection",
    "registry.notices.n-1.objection.free",
    "registry.notices.n-1.phone_optin_statement",
    "registry.notices.n-1.r223_mentions",
    "registry.notices.n-1.r223_mentions.period",
    "registry.notices.n-1.controls",
    "registry.notices.n-1.controls.0.prechecked",
    "registry.notices.n-1.controls.1.service_without_consent",
    "registry.notices.n-1.review",
    "registry.policy.related_offers",
    "registry.policy.adequate_countries",
    "transfer.notice_version",
    "transfer.collected_at",
    "transfer.subject.country",
    "transfer.subject.job",
    "transfer.contact.phone",
    "transfer.contact.postal",
    "transfer.source",
    "transfer.source.role",
    "transfer.source.chain",
    "transfer.bloctel",
    "transfer.bloctel.listed",
    "transfer.contract",
    "transfer.contract.status",
    "transfer.inbound_request",
    "transfer.inbound_request.object",
    "transfer.last_active_contact",
    "consents.0.lawful_basis",
    "consents.0.indication",
    "consents.0.purposes",
    "consents.0.channels",
    "consents.0.party_ids",
    "consents.0.offer_categories",
    "consents.0.partner_list_version",
    "consents.0.notice_version",
    "consents.0.guardian",
    "consents.0.guardian.proof_id",
    "consents.0.special_categories",
    "consents.0.proof",
    "consents.0.proof.proof_id",
    "consents.0.proof.kept_until",
    "consents.0.proof.individual",
]
OPPOSITIONS = ["withdrawal", "objection", "erasure", "restriction"]


def _released(scenario: Objects) -> set[tuple[str, str]]:
    here = world(scenario)
    decisions = decide(here.transfer, here.state, here.registry, here.t)
    return {(decision.partner_id, channel) for decision in decisions for channel in decision.released}


@_thorough
@given(scenarios())
def test_every_requested_channel_is_either_released_or_quarantined_with_reasons(scenario: Objects) -> None:
    here = world(scenario)
    for decision in decide(here.transfer, here.state, here.registry, here.t):
        assert set(decision.released).isdisjoint(decision.quarantined)
        assert {*decision.released, *decision.quarantined} == set(here.transfer.channels)
        assert [*decision.released] == [c for c in here.transfer.channels if c in decision.released]
        assert [*decision.quarantined] == [c for c in here.transfer.channels if c in decision.quarantined]
        assert (decision.release is not None) == bool(decision.released)
        for reasons in decision.quarantined.values():
            assert reasons
            assert list(reasons) == sorted(set(reasons), key=RANK.__getitem__)


@_thorough
@given(scenarios())
def test_a_release_has_every_applicable_rule_true_and_a_quarantine_names_each_that_is_not(scenario: Objects) -> None:
    here = world(scenario)
    for decision in decide(here.transfer, here.state, here.registry, here.t):
        f = Facts(view_of(here.registry), here.transfer, here.state, here.t)
        f.turn_to(decision.partner_id)
        for channel in here.transfer.channels:
            f.look_at(channel)
            failing = [rule.id for rule in RULES if rule is not GUARD and rule.applies(f) and not rule.holds(f)]
            assert [*gate_reasons(f), *failing] == list(decision.quarantined.get(channel, ()))


@_thorough
@given(scenarios(), st.sampled_from(EVIDENCE))
def test_taking_evidence_away_never_turns_a_quarantine_into_a_release(scenario: Objects, evidence: str) -> None:
    # One consent: without a field it may no longer be the nearest, and rightly give way to a better one.
    scenario["consents"] = [e for i, e in enumerate(scenario["consents"]) if i == 0 or e["type"] != "consent"]
    first = scenario["consents"][0] if scenario["consents"] else {}
    assume(first.get("state") in (None, "given", "renewed"))
    before = _released(scenario)
    here = world(scenario)
    # What is dated in the future is no evidence: without it, the event is sane again.
    sane = {
        (decision.partner_id, channel)
        for decision in decide(here.transfer, here.state, here.registry, here.t)
        for channel in here.transfer.channels
        if "clock-sane" not in decision.quarantined.get(channel, ())
    }
    put(scenario, evidence, None)
    assert _released(scenario) & sane <= before


@_thorough
@given(scenarios(), st.sampled_from(OPPOSITIONS), st.sampled_from(INSTANTS), st.data())
def test_one_opposition_more_never_releases_more(scenario: Objects, kind: str, time: str, data: st.DataObject) -> None:
    before = _released(scenario)
    event: Objects = {"event_id": "x", "prospect_id": "p-1", "type": kind, "event_time": time}
    if kind in ("withdrawal", "objection"):
        event["scope"] = data.draw(
            st.fixed_dictionaries({}, optional={"channels": st.lists(st.sampled_from(CHANNELS))})
        )
    scenario["consents"].append(event)
    assert _released(scenario) <= before


@_thorough
@given(scenarios())
def test_an_event_that_cannot_be_read_holds_everything_until_it_is_resolved(scenario: Objects) -> None:
    scenario["consents"] = [event for event in scenario["consents"] if event["type"] != "resolution"]
    before = _released(scenario)
    scenario["consents"].append({"type": "?"})
    assert _released(scenario) == set()
    resolution = {"event_id": "q", "prospect_id": "p-1", "type": "resolution", "event_time": INSTANTS[0]}
    scenario["consents"].append(resolution | {"resolves": [len(scenario["consents"]) - 1]})
    assert _released(scenario) == before


@_thorough
@given(scenarios())
def test_the_reasons_of_a_channel_do_not_depend_on_other_channels_or_partners(scenario: Objects) -> None:
    scenario["transfer"].setdefault("offer_category", "insurance")
    scenario["transfer"]["channels"] = CHANNELS
    scenario["transfer"]["partner_ids"] = ["acme", "zephyr", "acme-direct", "helios"]
    here = world(scenario)
    together = decide(here.transfer, here.state, here.registry, here.t)
    for decision in together:
        for channel in here.transfer.channels:
            alone = msgspec.structs.replace(here.transfer, channels=(channel,), partner_ids=(decision.partner_id,))
            (single,) = decide(alone, here.state, here.registry, here.t)
            assert single.quarantined.get(channel) == decision.quarantined.get(channel)


@_thorough
@given(scenarios())
def test_nothing_leaves_but_points_of_released_channels_and_allowed_attributes(scenario: Objects) -> None:
    here = world(scenario)
    for decision in decide(here.transfer, here.state, here.registry, here.t):
        if decision.release is None:
            continue
        contact = decision.release.contact
        assert (contact.email is not None) <= ("email" in decision.released)
        assert (contact.postal is not None) <= ("postal" in decision.released)
        assert (contact.phone is not None) <= bool({"sms", "live_call", "automated_call"} & set(decision.released))
        fields = here.registry.partners[decision.partner_id].fields
        assert decision.release.attributes.keys() <= set(fields) & here.registry.policy.attributes.keys()


@_thorough
@given(scenarios())
def test_the_explanation_says_what_was_decided(scenario: Objects) -> None:
    here = world(scenario)
    decisions = decide(here.transfer, here.state, here.registry, here.t)
    for explanation, decision in zip(explain(here.transfer, here.state, here.registry, here.t), decisions, strict=True):
        assert explanation.decision == decision
        for channel in explanation.channels:
            failed = [finding.rule for finding in channel.rules if finding.verdict == "failed"]
            assert [*channel.gate, *failed] == list(decision.quarantined.get(channel.channel, ()))
            assert all(finding.facts for finding in channel.rules if finding.verdict == "failed")
            assert all(finding.why for finding in channel.rules if finding.verdict == "not applicable")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("channels", ["fax"]),
        ("subject.kind", "robot"),
        ("subject.country", "France"),
        ("subject.birth_date", "15/06/1985"),
        ("contact.email.type", "secret"),
        ("contact.phone.type", "satellite"),
        ("source.role", "thief"),
        ("contract", {"status": "eternal"}),
        ("last_active_contact", {"type": "sleep"}),
        ("partner_roles", {"acme": "owner"}),
        ("requested_at", "2026-10-05T07:59:00"),
        ("source_restricted", "no"),
        ("bloctel", {"listed": "no"}),
    ],
)
def test_an_unknown_value_in_a_transfer_is_not_read(path: str, value: object) -> None:
    transfer = copy.deepcopy(CLEAN["transfer"])
    put(transfer, path, value)
    with pytest.raises(SchemaInvalid):
        decode_transfer(json.dumps(transfer).encode())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("type", "wish"),
        ("state", "maybe"),
        ("lawful_basis", "luck"),
        ("indication", "nod"),
        ("channels", ["fax"]),
        ("validity", "one year"),
        ("validity", "P1Y\n"),
        ("event_time", "yesterday"),
        ("time_precise", "yes"),
        ("proof.individual", "yes"),
    ],
)
def test_an_unknown_value_in_a_consent_makes_it_unreadable(path: str, value: object) -> None:
    event = copy.deepcopy(CONSENT)
    put(event, path, value)
    with pytest.raises(Unreadable):
        decode_consent(json.dumps(event).encode(), b"p-1")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("partners.acme.status", "friendly"),
        ("partners.acme.role", "owner"),
        ("notices.n-1.partner_list.mode", "whispered"),
        ("notices.n-1.review.status", "perhaps"),
        ("policy.list_changes", "lenient"),
        ("policy.minor_unknown_age", "maybe"),
    ],
)
def test_an_unknown_value_in_the_registry_is_an_error(path: str, value: object) -> None:
    registry = copy.deepcopy(CLEAN["registry"])
    put(registry, path, value)
    with pytest.raises(InvalidRegistry):
        registry_from_objects(registry)


@pytest.mark.parametrize(
    "path",
    [
        "transfer.purpose",
        "transfer.notice_version",
        "transfer.offer_category",
        "consents.0.notice_version",
        "consents.0.partner_list_version",
        "consents.0.proof.text_hash",
        "registry.notices.n-1.partner_list.version",
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_word_never_releases_more(kind: str, path: str) -> None:
    scenario = copy.deepcopy(CLEAN)
    for place, value in KINDS[kind]:
        put(scenario, place, value)
    before = _released(scenario)
    put(scenario, path, "unheard-of")
    assert _released(scenario) <= before


@_thorough
@given(scenarios(), st.dictionaries(st.text(min_size=1, max_size=8).map("x{}".format), st.booleans(), min_size=1))
def test_unknown_fields_change_nothing(scenario: Objects, unknown: dict[str, bool]) -> None:
    more = copy.deepcopy(scenario)
    more["transfer"] |= unknown
    more["transfer"].get("subject", {}).update(unknown)
    before, after = world(scenario), world(more)
    assert decide(after.transfer, after.state, after.registry, after.t) == decide(
        before.transfer, before.state, before.registry, before.t
    )


_ACTS = dt.datetime(2025, 8, 12), dt.datetime(2032, 1, 1)  # noqa: DTZ001 - hypothesis takes bounds without a zone


@settings(max_examples=500, deadline=None)
@given(
    act=st.datetimes(*_ACTS, timezones=st.just(dt.UTC)),
    age=st.one_of(
        st.timedeltas(dt.timedelta(days=1), dt.timedelta(days=800)),
        st.timedeltas(dt.timedelta(days=364), dt.timedelta(days=367)),
    ),
)
def test_a_phone_consent_ages_as_demarchage_consent_says(act: dt.datetime, age: dt.timedelta) -> None:
    use_until = act + age
    assume(use_until >= dt.datetime(2026, 8, 12, tzinfo=dt.UTC))
    scenario = copy.deepcopy(CLEAN)
    for path, value in KINDS["calls"]:
        put(scenario, path, value)
    at = (use_until - dt.timedelta(hours=12)).isoformat()
    for path, value in (
        ("at", at),
        ("transfer.requested_at", at),
        ("transfer.use_until", use_until.isoformat()),
        ("consents.0.event_time", act.isoformat()),
    ):
        put(scenario, path, value)
    here = world(scenario)
    (decision,) = decide(here.transfer, here.state, here.registry, here.t)
    ours = "phone-consent-one-year" not in decision.quarantined.get("live_call", ())
    theirs = evaluate_consent(act, now=use_until) == "valide"
    # Theirs is 365 days; ours a year on the clock of Paris, longer by a leap day, and up to an hour off by a change
    # of clocks.
    hour = dt.timedelta(hours=1)
    has_leap_day = any(
        act - hour < dt.datetime(year, 3, 1, tzinfo=dt.UTC) < act + 367 * dt.timedelta(days=1) for year in (2028, 2032)
    )
    longest = dt.timedelta(days=366 if has_leap_day else 365) + hour
    if not dt.timedelta(days=365) - hour <= age <= longest:
        assert ours == theirs


@settings(max_examples=300, deadline=None)
@given(
    act=st.datetimes(*_ACTS, timezones=st.just(dt.UTC)),
    kept=st.one_of(
        st.timedeltas(dt.timedelta(days=1), dt.timedelta(days=2000)),
        st.timedeltas(dt.timedelta(days=1094), dt.timedelta(days=1098)),
    ),
)
def test_the_proof_of_a_phone_consent_is_kept_as_long_as_demarchage_consent_says(
    act: dt.datetime, kept: dt.timedelta
) -> None:
    at = max(act, dt.datetime(2026, 8, 12, tzinfo=dt.UTC)) + dt.timedelta(hours=1)
    scenario = copy.deepcopy(CLEAN)
    for path, value in KINDS["calls"]:
        put(scenario, path, value)
    for path, value in (
        ("at", at.isoformat()),
        ("transfer.requested_at", at.isoformat()),
        ("transfer.use_until", at.isoformat()),
        ("consents.0.event_time", act.isoformat()),
        ("consents.0.proof.kept_until", (act + kept).isoformat()),
    ):
        put(scenario, path, value)
    here = world(scenario)
    (decision,) = decide(here.transfer, here.state, here.registry, here.t)
    ours = "phone-proof-three-years" not in decision.quarantined.get("live_call", ())
    until = assess_consent(act, now=at).proof_retention_until
    assert until is not None
    # Theirs is three times 365 days; in three years on the clock of Paris there is at most one leap day.
    hour = dt.timedelta(hours=1)
    if not until - hour <= act + kept <= until + dt.timedelta(days=1) + hour:
        assert ours == (act + kept > until)
