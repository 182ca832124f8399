"""Every word that a rule knows, one by one, against the lists of rules.md: what holds with it and what does not."""

import copy
from typing import Any, Final, get_args, get_type_hints

import pytest

from tests.property.scenarios import CLEAN, CONTROL, KINDS, MENTIONS, put, world
from transfer_gate.model.consent import Indication
from transfer_gate.model.decision import PartnerDecision
from transfer_gate.model.transfer import EmailPoint, LastActiveContact, PhonePoint, SubjectKind
from transfer_gate.policy.decide import decide
from transfer_gate.policy.explain import _NAMES
from transfer_gate.policy.facts import Facts
from transfer_gate.policy.rule import rule
from transfer_gate.policy.view import view_of

ZONES: Final = {
    "FR": "Europe/Paris",
    "GP": "America/Guadeloupe",
    "MQ": "America/Martinique",
    "GF": "America/Cayenne",
    "RE": "Indian/Reunion",
    "YT": "Indian/Mayotte",
}
EEA: Final = (
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK IS LI NO".split()  # noqa: SIM905
)


def _words(of: Any, field: str) -> list[Any]:
    """What the model lets a field be, None apart."""
    kinds = [part for part in get_args(get_type_hints(of)[field]) if part is not type(None)]
    return [word for part in kinds for word in get_args(part)]


def _decided(kind: str, *changes: tuple[str, Any]) -> PartnerDecision:
    scenario = copy.deepcopy(CLEAN)
    for path, value in (*KINDS[kind], *changes):
        put(scenario, path, value)
    here = world(scenario)
    (decision,) = decide(here.transfer, here.state, here.registry, here.t)
    return decision


def _reasons(kind: str, *changes: tuple[str, Any]) -> set[str]:
    return {reason for reasons in _decided(kind, *changes).quarantined.values() for reason in reasons}


@pytest.mark.parametrize("country", [*ZONES, "BE", "PM", "NC", "DE", "CH"])
def test_jurisdictions_and_their_call_windows(country: str) -> None:
    decision = _decided("calls", ("transfer.subject.country", country))
    assert bool(decision.released) is (country in ZONES)
    if decision.release is not None:
        window = decision.release.obligations.call_window
        assert window is not None
        assert (window.time_zone, window.public_holidays) == (ZONES[country], False)
        assert window.days == ("monday", "tuesday", "wednesday", "thursday", "friday")
        assert window.hours == ("10:00-13:00", "14:00-20:00")


@pytest.mark.parametrize("country", [*EEA, "CH", "GB", "US", "MA", "TR", "UA"])
def test_countries_that_need_no_safeguard(country: str) -> None:
    assert len(EEA) == 30
    changes = [("registry.partners.acme.country", country), ("registry.policy.adequate_countries", ["CH"])]
    assert ("third-country-safeguard" in _reasons("consent", *changes)) is (country not in [*EEA, "CH"])


@pytest.mark.parametrize("act", get_args(Indication))
def test_acts_of_consent(act: str) -> None:
    clear = act in ("unticked_box_ticked", "signature", "dedicated_action")
    assert _reasons("consent", ("consents.0.indication", act)) == (set() if clear else {"consent-valid-act"})


@pytest.mark.parametrize("sign", _words(LastActiveContact, "type"))
def test_signs_of_life(sign: str) -> None:
    last = {"at": "2026-09-01T00:00:00Z", "type": sign}
    old = [("transfer.collected_at", "2020-01-01T00:00:00Z"), ("transfer.last_active_contact", last)]
    expected = {"retention-three-years"} if sign in ("open", "delivery") else set()
    assert _reasons("consent", *old) == expected


@pytest.mark.parametrize(
    "offer", ["energy_saving", "renewable", "home_adaptation", "insurance", "press", "telecom", None]
)
def test_banned_offers(offer: str | None) -> None:
    banned = offer in ("energy_saving", "renewable", "home_adaptation", None)
    assert ("sector-ban-messages" in _reasons("consent", ("transfer.offer_category", offer))) is banned
    calls = [("transfer.channels", ["automated_call"]), ("transfer.offer_category", offer)]
    assert ("sector-ban-home-works" in _reasons("calls", *calls)) is banned


@pytest.mark.parametrize("mode", ["inline", "link", "none"])
def test_ways_to_show_the_list(mode: str) -> None:
    change = ("registry.notices.n-1.partner_list.mode", mode)
    assert ("partner-named-at-consent" in _reasons("consent", change)) is (mode == "none")
    assert ("phone-named-pro-and-offer" in _reasons("calls", change)) is (mode != "inline")


@pytest.mark.parametrize("missing", [False, None])
@pytest.mark.parametrize("mention", MENTIONS)
def test_each_of_the_six_mentions_is_needed(mention: str, missing: bool | None) -> None:
    change = (f"registry.notices.n-1.r223_mentions.{mention}", missing)
    assert _reasons("calls", change) == {"phone-named-pro-and-offer"}


@pytest.mark.parametrize("missing", [False, None])
@pytest.mark.parametrize("flag", ["present", "free", "at_collection"])
def test_each_side_of_the_right_to_object_is_needed(flag: str, missing: bool | None) -> None:
    assert _reasons("post", (f"registry.notices.n-1.objection.{flag}", missing)) == {"li-informed"}


@pytest.mark.parametrize("flag", CONTROL)
def test_each_side_of_a_control_is_needed_and_one_bad_control_spoils_them_all(flag: str) -> None:
    rule_id = "consent-valid-act" if flag in ("prechecked", "separate_from_terms") else "form-not-deceptive"
    for bad in (not CONTROL[flag], None):
        for control in (0, 1):
            change = (f"registry.notices.n-1.controls.{control}.{flag}", bad)
            assert _decided("calls", change).quarantined["automated_call"] == (rule_id,)


def _kind(subject: str | None, channel: str, **contact: str | None) -> str:
    scenario = copy.deepcopy(CLEAN)
    put(scenario, "transfer.subject.kind", subject)
    for point, type_ in contact.items():
        put(scenario, f"transfer.contact.{point}.type", type_)
    here = world(scenario)
    f = Facts(view_of(here.registry), here.transfer, here.state, here.t)
    f.turn_to("acme")
    f.look_at(channel)  # type: ignore[arg-type]
    return f.kind


@pytest.mark.parametrize("subject", [*get_args(SubjectKind), None])
@pytest.mark.parametrize("address", [*_words(EmailPoint, "type"), None])
def test_kinds_by_address(subject: str | None, address: str | None) -> None:
    expected = "consumer"
    if subject in ("professional", "legal_person") and address in ("professional", "role"):
        expected = "legal_person" if (subject, address) == ("legal_person", "role") else "professional"
    assert _kind(subject, "email", email=address) == expected


@pytest.mark.parametrize("channel", ["sms", "automated_call", "live_call"])
@pytest.mark.parametrize("subject", [*get_args(SubjectKind), None])
@pytest.mark.parametrize("number", [*_words(PhonePoint, "type"), None])
def test_kinds_by_number(channel: str, subject: str | None, number: str | None) -> None:
    expected = "consumer"
    if subject == "legal_person" and number in ("professional", "landline"):
        expected = "legal_person"
    elif subject == "professional" and number == "professional":
        expected = "professional"
    assert _kind(subject, channel, phone=number) == expected


@pytest.mark.parametrize("subject", [*get_args(SubjectKind), None])
def test_kinds_by_post(subject: str | None) -> None:
    assert _kind(subject, "postal") == (subject or "consumer")


def test_every_fact_that_has_a_name_of_its_own_in_explanations_exists() -> None:
    assert set(_NAMES) <= set(dir(Facts))


@pytest.mark.parametrize("marks", ["x", "pq", "n?"])
def test_a_misspelt_mark_is_a_defect_that_shows_at_once(marks: str) -> None:
    with pytest.raises(ValueError, match="marks are letters of p, c, n"):
        rule("clock-sane", title="t", reference="r", marks=marks)(lambda _: True)
