"""What changed between two registries, in words, with the rules that read it."""

import copy
from typing import Any, get_args

import pytest

from tests.support.registry_sample import objects
from transfer_gate.model.registry import Control, Notice, Partner, Period, Policy
from transfer_gate.model.reviewed import Reviewed
from transfer_gate.model.terms import REASONS
from transfer_gate.registry import Change, InvalidRegistry, compare, registry_from_objects
from transfer_gate.registry.diff import FIELDS

SAMPLE = objects()


def changes(path: tuple[str | int, ...], value: Any) -> tuple[Change, ...]:
    changed = copy.deepcopy(SAMPLE)
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return compare(registry_from_objects(SAMPLE), registry_from_objects(changed))


ACME = ("partners", "acme-assurances")
NEWEST = ("notices", "n-2026-09")


@pytest.mark.parametrize(
    ("path", "value", "field", "text", "rules"),
    [
        (
            (*ACME, "status"),
            "paused",
            "status",
            "status: was active, is now paused",
            ("partner-paused", "partner-on-rehearsal", "partner-known-and-contracted"),
        ),
        (
            (*ACME, "contract", "valid_to"),
            None,
            "contract.valid_to",
            "end of the contract: was 2030-01-01 00:00+01:00, is now not said",
            ("partner-known-and-contracted",),
        ),
        (
            (*ACME, "contract", "valid_to"),
            "2029-12-31T23:00:00.5Z",
            "contract.valid_to",
            "end of the contract: was 2030-01-01 00:00+01:00, is now 2030-01-01 00:00:00.500000+01:00",
            ("partner-known-and-contracted",),
        ),
        (
            (*ACME, "fields"),
            ["city", "first_name", "housing"],
            "fields",
            "attributes it may receive: now also housing; no longer last_name",
            ("payload-minimised",),
        ),
        (
            (*ACME, "fields"),
            ["city", "last_name", "first_name"],
            "fields",
            "attributes it may receive: the same entries, in another order or number",
            ("payload-minimised",),
        ),
        (
            (*ACME, "listed", 0, "to"),
            "2026-10-01T00:00:00+02:00",
            "listed",
            "periods on the list of partners: now also from 2020-01-01 00:00+01:00 until 2026-10-01 00:00+02:00; "
            "no longer from 2020-01-01 00:00+01:00 until further notice",
            ("partner-listed-now",),
        ),
        (
            (*ACME, "transfer_safeguard"),
            {},
            "transfer_safeguard",
            "safeguard for a third country: was not said, is now there, but empty",
            ("third-country-safeguard",),
        ),
        (
            (*NEWEST, "partner_list", "party_ids"),
            ["acme-assurances"],
            "partner_list.party_ids",
            "partners it names: no longer helios-habitat, lumen-telecom",
            ("partner-named-at-consent", "no-onward-consent", "li-recipient-expected"),
        ),
        (
            (*NEWEST, "controls", 2, "prechecked"),
            True,
            "controls",
            "boxes and buttons: now also a box for postal (prechecked: yes, separate from terms: yes, "
            "refuse equal prominence: yes, service without consent: yes); no longer a box for postal (prechecked: no, "
            "separate from terms: yes, refuse equal prominence: yes, service without consent: yes)",
            ("consent-valid-act", "form-not-deceptive"),
        ),
        (
            ("policy", "attributes", "city"),
            {"special_category": "health"},
            "attributes[city].special_category",
            "special category of city: was not said, is now health",
            ("special-category-block",),
        ),
        (
            ("policy", "related_offers", "insurance"),
            ["car_insurance"],
            "related_offers[insurance]",
            "offers and jobs related to insurance: no longer home_insurance",
            (
                "b2b-scope",
                "phone-optout-bloctel",
                "phone-ongoing-contract",
                "sector-ban-home-works",
                "sector-ban-messages",
            ),
        ),
        (
            ("policy", "clock_skew_seconds"),
            60,
            "clock_skew_seconds",
            "seconds a clock may be ahead: was 300, is now 60",
            ("clock-sane",),
        ),
    ],
)
def test_one_change_is_one_sentence(
    path: tuple[str | int, ...], value: Any, field: str, text: str, rules: tuple[str, ...]
) -> None:
    """What it is called, what it was, what it is now, and the reasons that may come or go."""
    (change,) = changes(path, value)
    assert (change.change, change.field, change.text, change.rules) == ("changed", field, text, rules)


def test_an_attribute_that_joins_the_policy_is_one_change() -> None:
    """That nothing is known of it is not told beside."""
    (change,) = changes(("policy", "attributes", "rooms"), {})
    assert change.text == "attributes that may leave the house: now also rooms"


def test_a_partner_that_comes_is_described() -> None:
    """Enough to see who it is and what it may have."""
    new = SAMPLE["partners"]["acme-assurances"] | {"party_id": "acme-2"}
    (change,) = changes(("partners", "acme-2"), new)
    assert (change.title, change.change) == ("Partner acme-2 (Acme Assurances SA)", "added")
    assert change.text == (
        "is new: active, established in FR, deals in insurance, may receive first_name, last_name, city"
    )


def test_a_notice_that_comes_is_described() -> None:
    """When it was shown, whom it names, whether somebody reviewed it."""
    (change,) = changes(
        ("notices", "n-2027-01"), {"version": "n-2027-01", "published_from": "2027-01-01T00:00:00+01:00"}
    )
    assert change.text == (
        "is new: published from 2027-01-01 00:00+01:00 until further notice, names no party, review: not said"
    )


@pytest.mark.parametrize(
    ("kind", "name", "rule"),
    [("partners", "lumen-telecom", "partner-unknown"), ("notices", "n-2024-03", "notice-in-force-at-collection")],
)
def test_what_goes_is_told_with_what_follows(kind: str, name: str, rule: str) -> None:
    """Removing a file is never a detail: everything that relies on it will be held."""
    without = SAMPLE | {kind: {key: value for key, value in SAMPLE[kind].items() if key != name}}
    (change,) = compare(registry_from_objects(SAMPLE), registry_from_objects(without))
    assert (change.name, change.change, change.rules) == (name, "removed", (rule,))


def test_partners_come_first_then_notices_then_policy() -> None:
    """The report reads in the order in which people answer for it."""
    changed = copy.deepcopy(SAMPLE)
    changed["policy"]["list_changes"] = "inform_and_object"
    changed["notices"]["n-2026-09"]["purposes"] = []
    changed["partners"]["lumen-telecom"]["status"] = "paused"
    kinds = [change.kind for change in compare(registry_from_objects(SAMPLE), registry_from_objects(changed))]
    assert kinds == ["partner", "notice", "policy"]


def _mutations(value: Any) -> list[Any]:
    if isinstance(value, dict):
        without = [{key: part for key, part in value.items() if key != gone} for gone in value]
        return without + [
            value | {key: other} for key, part in value.items() for other in (*_mutations(part), {}, [], None)
        ]
    if isinstance(value, list):
        return [
            value[:-1],
            value[::-1],
            [*value, *value[:1]],
            *([other] for part in value for other in _mutations(part)),
        ]
    if isinstance(value, bool):
        return [not value]
    return [value + 1] if isinstance(value, int) else [value.replace("20", "19", 1), "GB"]


def test_there_is_a_change_exactly_when_the_revision_is_another() -> None:
    """No difference in meaning goes untold, and none is told that is not there."""
    base, compared = registry_from_objects(SAMPLE), 0
    for changed in _mutations(SAMPLE):
        try:
            registry = registry_from_objects(changed)
        except InvalidRegistry:
            continue
        compared += 1
        assert bool(compare(base, registry)) == (base.revision != registry.revision)
        assert bool(compare(registry, base)) == (base.revision != registry.revision)
    assert compared > 300


def _paths(model: type[Reviewed], above: str) -> set[str]:
    """Every field that a comparison can tell about; boxes and periods are told whole."""
    found = set()
    for name, field in model.model_fields.items():
        path = f"{above}.{field.alias or name}"
        found.add(path)
        inner: list[Any] = [field.annotation]
        while inner:
            part = inner.pop()
            if isinstance(part, type) and issubclass(part, Reviewed) and part not in (Control, Period):
                found |= _paths(part, f"{path}[]" if above == "policy" else path)
            inner += get_args(part)
    return found


def test_every_field_has_words_and_its_rules_exist() -> None:
    """A field that is added to the registry can't be forgotten here, nor a rule be misspelt."""
    known = _paths(Partner, "partner") | _paths(Notice, "notice") | _paths(Policy, "policy")
    names = {"partner.party_id", "notice.version"}
    assert known - names == set(FIELDS) - {"policy.related_offers[]"}
    assert {rule for _, rules in FIELDS.values() for rule in rules} <= set(REASONS)
