"""The decision in the face of defects: what raises or leaks inside the gate is held, and named."""

import copy
import dataclasses
import datetime as dt

import msgspec
import pytest

from tests.property.scenarios import CLEAN, Objects, World, put, world
from transfer_gate.model.decision import PartnerDecision
from transfer_gate.model.state import EMPTY, ProspectState
from transfer_gate.model.terms import RuleId
from transfer_gate.model.transfer import Contact
from transfer_gate.policy import catalogue, facts
from transfer_gate.policy import decide as deciding
from transfer_gate.policy.catalogue import RULE
from transfer_gate.policy.decide import decide
from transfer_gate.policy.facts import Facts
from transfer_gate.policy.legal_time import FAR_FUTURE, FAR_PAST
from transfer_gate.policy.release import project
from transfer_gate.policy.view import Payload, view_of


def _world(*changes: tuple[str, object]) -> World:
    scenario: Objects = copy.deepcopy(CLEAN)
    for path, value in changes:
        put(scenario, path, value)
    return world(scenario)


def _decide(here: World) -> tuple[PartnerDecision, ...]:
    return decide(here.transfer, here.state, here.registry, here.t)


def _raise(_: Facts) -> bool:
    raise RuntimeError("a defect")


@pytest.fixture
def no_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans made by this test are of this test only."""
    monkeypatch.setattr(catalogue, "_plans", {})
    monkeypatch.setattr(catalogue, "_sharing", {})


def _break(monkeypatch: pytest.MonkeyPatch, rule_id: RuleId) -> None:
    monkeypatch.setitem(catalogue._TEST, rule_id, (_raise, rule_id))


@pytest.mark.parametrize("rule_id", ["jurisdiction-covered", "contact-point-present", "partner-listed-now"])
@pytest.mark.usefixtures("no_plans")
def test_a_rule_that_raises_holds_the_channel_is_named_and_hides_no_other_reason(
    monkeypatch: pytest.MonkeyPatch, rule_id: RuleId
) -> None:
    _break(monkeypatch, rule_id)
    here = _world(
        ("consents.0.indication", "scroll"),
        ("transfer.source_restricted", True),
        ("registry.partners.acme.country", "MA"),
    )
    (decision,) = _decide(here)
    assert decision.released == ()
    assert decision.rule_errors == (rule_id,)
    reasons = ("third-country-safeguard", "source-visibility-respected", "consent-valid-act", "rule-error")
    assert decision.quarantined == {"email": reasons, "sms": reasons}


@pytest.mark.usefixtures("no_plans")
def test_a_rule_that_raised_for_a_partner_is_asked_again_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    here = _world()
    with monkeypatch.context() as broken:
        _break(broken, "partner-listed-now")
        assert _decide(here)[0].released == ()
    catalogue._plans.clear()
    assert _decide(here)[0].released == ("email", "sms")


@pytest.mark.interpreted
def test_the_guard_holds_everything_when_the_record_holds_a_point_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    here = _world()

    def leaky(f: Facts, channels: list[str], notices: list[object]) -> Payload:
        return Payload(channels, notices, here.transfer.contact or Contact(), {})  # type: ignore[arg-type]

    monkeypatch.setattr(deciding, "project", leaky)
    (decision,) = _decide(here)
    assert decision.release is None
    assert decision.quarantined == {"email": ("payload-minimised",), "sms": ("payload-minimised",)}


@pytest.mark.parametrize(
    "attributes",
    [{"first_name": "Claire", "city": "Lyon"}, {"first_name": "Clara"}, {}, {"first_name": "Claire", "x": 1}],
)
@pytest.mark.interpreted
def test_the_guard_holds_everything_when_the_attributes_are_not_the_projection(
    monkeypatch: pytest.MonkeyPatch, attributes: dict[str, str | int]
) -> None:
    here = _world(("transfer.channels", ["email", "postal", "live_call"]))
    monkeypatch.setattr(
        deciding, "project", lambda *of: msgspec.structs.replace(project(*of), attributes=dict(attributes))
    )
    (decision,) = _decide(here)
    assert decision.release is None
    assert decision.quarantined == dict.fromkeys(("email", "postal", "live_call"), ("payload-minimised",))


@pytest.mark.parametrize("channel", ["email", "sms", "automated_call", "live_call", "postal"])
@pytest.mark.parametrize("point", ["email", "phone", "postal"])
def test_the_guard_knows_which_point_goes_with_which_channel(channel: str, point: str) -> None:
    here = _world()
    f = Facts(view_of(here.registry), here.transfer, here.state, here.t)
    f.turn_to("acme")
    assert here.transfer.contact is not None
    contact = Contact(**{point: getattr(here.transfer.contact, point)})
    f.payload = Payload([channel], [f.view.notices["n-1"]], contact, {"first_name": "Claire"})  # type: ignore[list-item]
    fits = {"email": "email", "postal": "postal"}.get(channel, "phone") == point
    assert RULE["payload-minimised"].holds(f) is fits


@pytest.mark.interpreted
def test_a_partner_held_by_the_guard_keeps_the_order_and_reasons_of_its_other_channels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = _world(("transfer.channels", ["postal", "email", "sms"]), ("consents.0.channels", ["sms"]))
    monkeypatch.setattr(deciding, "project", lambda *_: Payload([], [], Contact(), {"stolen": 1}))
    (decision,) = _decide(here)
    assert list(decision.quarantined.items()) == [
        ("postal", ("payload-minimised",)),
        ("email", ("electronic-optin",)),
        ("sms", ("payload-minimised",)),
    ]


@pytest.mark.interpreted
def test_a_projection_that_raises_holds_every_partner(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Payload:
        raise RuntimeError("a defect")

    monkeypatch.setattr(deciding, "project", broken)
    here = _world(("transfer.partner_ids", ["acme", "helios"]))
    decisions = _decide(here)
    assert [decision.partner_id for decision in decisions] == ["acme", "helios"]
    for decision in decisions:
        assert decision.release is None
        assert decision.quarantined == {"email": ("rule-error",), "sms": ("rule-error",)}
        assert decision.rule_errors == ("definitions",)


@pytest.mark.interpreted
def test_a_definition_that_raises_holds_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bool:
        raise RuntimeError("a defect")

    monkeypatch.setattr(facts, "is_consumer", broken)
    (decision,) = _decide(_world())
    assert decision.quarantined == {"email": ("rule-error",), "sms": ("rule-error",)}
    assert decision.rule_errors == ("definitions",)


@pytest.mark.parametrize("year", [1, 2, 1900, 2101, 4500, 9998, 9999])
@pytest.mark.parametrize("place", ["transfer.collected_at", "consents.0.event_time", "at", "transfer.use_until"])
def test_the_ends_of_the_calendar_raise_nothing_and_release_nothing_they_should_not(year: int, place: str) -> None:
    for text in (f"{year:04}-01-01T00:00:00+14:00", f"{year:04}-12-31T23:59:59.999999-14:00"):
        scenario = copy.deepcopy(CLEAN)
        put(scenario, "transfer.channels", ["email", "live_call", "postal"])
        put(scenario, "transfer.inbound_request", {"at": text, "partner_ids": ["acme"], "object": "insurance"})
        put(scenario, "transfer.bloctel", {"listed": False, "checked_at": text})
        put(scenario, "consents.0.validity", "P9999Y")
        at = scenario["at"]
        put(scenario, place, text)
        here = world(scenario | {"at": at})
        if place == "at":
            here = dataclasses.replace(here, t=_clamped(text))
        (decision,) = _decide(here)
        assert decision.rule_errors == ()
        if place == "transfer.collected_at" and year < 2023:
            assert "retention-three-years" in decision.quarantined["email"]


def _clamped(text: str) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    except OverflowError:
        return FAR_PAST if text.startswith("0001") else FAR_FUTURE


def test_plans_are_made_once_and_registries_are_compiled_once() -> None:
    here = _world()
    _decide(here)
    plans = len(catalogue._plans)
    _decide(here)
    assert len(catalogue._plans) == plans
    assert view_of(here.registry) is view_of(here.registry)


def test_compiled_registries_are_forgotten_in_time_and_never_mixed_up() -> None:
    worlds = [_world(("registry.partners.acme.legal_name", f"Acme {number}")) for number in range(40)]
    views = [view_of(here.registry) for here in worlds]
    assert len(set(map(id, views))) == len(views)
    assert all(view.policy is here.registry.policy for view, here in zip(views, worlds, strict=True))


def test_an_empty_state_blocks_nobody() -> None:
    assert not EMPTY.blocked()
    assert ProspectState(unreadable=(3,), resolved=(2,)).blocked()
    assert not ProspectState(unreadable=(3,), resolved=(2, 3)).blocked()


@pytest.mark.usefixtures("no_plans")
def test_the_very_first_plan_is_asked_its_shared_rules_too() -> None:
    here = _world(("consents", []), ("transfer.notice_version", None))
    (decision,) = _decide(here)
    assert decision.released == ()
    assert all("electronic-optin" in reasons for reasons in decision.quarantined.values())


@pytest.mark.parametrize(("good", "bad"), [("email", "sms"), ("sms", "email")])
def test_channels_with_consents_of_their_own_share_no_verdict_for_their_common_notice(good: str, bad: str) -> None:
    consent = CLEAN["consents"][0]
    here = _world(
        (
            "consents",
            [
                consent | {"channels": [good]},
                consent | {"event_id": "c-9", "record_id": "r-9", "channels": [bad], "party_ids": ["helios"]},
            ],
        )
    )
    (decision,) = _decide(here)
    assert (decision.released, set(decision.quarantined)) == ((good,), {bad})
    assert "partner-named-at-consent" in decision.quarantined[bad]  # type: ignore[index]
