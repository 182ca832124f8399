"""Cross-checks of a registry: what is an error though every field is right, and what is only doubtful."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.registry_sample import objects
from transfer_gate.model.topics import Topics
from transfer_gate.registry import registry_from_objects
from transfer_gate.registry.checks import Problem, errors_in, warnings_in

SAMPLE = objects()

Change = Callable[[dict[str, Any]], object]


def errors(change: Change) -> list[Problem]:
    changed = copy.deepcopy(SAMPLE)
    change(changed)
    registry = registry_from_objects(changed)
    return errors_in(registry.partners, registry.notices)


def warnings(change: Change) -> list[str]:
    changed = copy.deepcopy(SAMPLE)
    change(changed)
    return [str(problem) for problem in warnings_in(registry_from_objects(changed))]


def acme(**fields: object) -> Change:
    return lambda objects: objects["partners"]["acme-assurances"].update(fields)


def notice(**fields: object) -> Change:
    return lambda objects: objects["notices"]["n-2026-09"].update(fields)


def policy(**fields: object) -> Change:
    return lambda objects: objects["policy"].update(fields)


def partner_list(**fields: object) -> Change:
    return lambda objects: objects["notices"]["n-2026-09"]["partner_list"].update(fields)


OWN_TOPICS = [
    "prospect-transfers",
    "consent-events",
    "transfer-gate-consent-changelog",
    "transfers-quarantine",
    "transfers-replay",
    "transfer-gate-strays",
    "transfer-decisions",
    "transfer-gate-replay-ledger",
    "transfer-gate-audit",
]


@pytest.mark.parametrize("topic", OWN_TOPICS)
def test_a_partner_can_not_be_given_a_topic_of_the_gate(topic: str) -> None:
    """Its prospects would flow back into the gate, or quarantined data out to the partner."""
    (problem,) = errors(acme(topic=topic))
    assert problem.path == ("partners", "acme-assurances", "topic")
    assert "a topic of the gate itself" in problem.what


def test_the_topics_of_the_gate_are_all_guarded() -> None:
    """A topic that is added to the gate is in the list above, so it can't be forgotten in the check."""
    own = {getattr(Topics(), name) for name, member in vars(Topics).items() if isinstance(member, property)}
    assert own == set(OWN_TOPICS)


@pytest.mark.parametrize("topic", ["partner.lumen-telecom", "partner_lumen-telecom"])
def test_two_partners_can_not_share_a_topic(topic: str) -> None:
    """Each would read the other's prospects; Kafka takes `.` and `_` for equal."""
    (problem,) = errors(acme(topic=topic))
    assert "each partner needs its own" in problem.what


@pytest.mark.parametrize("topic", [".", "..", "__consumer_offsets", "__transaction_state"])
def test_names_that_kafka_keeps_are_refused(topic: str) -> None:
    """Kafka refuses the first two and stores its own state under the others."""
    (problem,) = errors(acme(topic=topic))
    assert "Kafka keeps this name for itself" in problem.what


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (
            acme(contract={"valid_from": "2030-01-01T00:00:00+01:00", "valid_to": "2029-12-31T23:00:00Z"}),
            ("partners", "acme-assurances", "contract", "valid_to"),
        ),
        (
            acme(listed=[{}, {"from": "2025-01-01T00:00:00Z", "to": "2024-01-01T00:00:00Z"}]),
            ("partners", "acme-assurances", "listed", 1, "to"),
        ),
        (
            acme(transfer_safeguard={"valid_from": "2025-01-01T00:00:00Z", "valid_to": "2024-01-01T00:00:00Z"}),
            ("partners", "acme-assurances", "transfer_safeguard", "valid_to"),
        ),
        (notice(published_to="2026-08-31T22:00:00Z"), ("notices", "n-2026-09", "published_to")),
    ],
)
def test_a_period_that_holds_no_instant_is_an_error(change: Change, path: tuple[str | int, ...]) -> None:
    """Upper bounds are exclusive, so equal bounds are empty too; offsets don't matter."""
    (problem,) = errors(change)
    assert problem.path == path


def test_an_open_period_is_none_of_these_errors() -> None:
    """An absent bound is open."""
    assert errors(acme(listed=[{}], contract={"valid_to": "2030-01-01T00:00:00Z"})) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            partner_list(party_ids=["acme-assurances", "helios-habitat", "lumen-telcom"]),
            "notices.n-2026-09.partner_list.party_ids[2]: lumen-telcom has no file: its transfers will be held; "
            "did you mean lumen-telecom?",
        ),
        (
            partner_list(version="l-5"),
            "notices.n-2026-09.partner_list.version: jumps from l-2: no notice showed list l-3 to l-4",
        ),
        (
            partner_list(version="l-4"),
            "notices.n-2026-09.partner_list.version: jumps from l-2: no notice showed list l-3",
        ),
        (
            partner_list(version="l-2"),
            "notices.n-2026-09.partner_list.version: l-2 names other partners here than in notice n-2024-03; "
            "a changed list needs a new version",
        ),
        (
            partner_list(version=None),
            "notices.n-2026-09.partner_list: the list has no version: no consent can be tied to it",
        ),
        (
            notice(published_from="2026-08-31T21:59:59Z"),
            "notices.n-2026-09.published_from: was published while notice n-2024-03 was: which one did a person see?",
        ),
        (
            notice(published_from="2026-09-03T00:00:00Z"),
            "notices.n-2026-09.published_from: no notice was published between "
            "2026-09-01 00:00+02:00 and 2026-09-03 02:00+02:00",
        ),
        (
            notice(text_hash=SAMPLE["notices"]["n-2024-03"]["text_hash"]),
            "notices.n-2026-09.text_hash: is the text of notice n-2024-03 too: another version is another text",
        ),
        (
            notice(review=None),
            "notices.n-2026-09.review: the form was not reviewed: what needs consent will be quarantined",
        ),
        (
            acme(suppression=None),
            "partners.acme-assurances.suppression: no channel to pass withdrawals on (topic or endpoint): "
            "every transfer to it will be held",
        ),
        (
            acme(suppression={"sla_hours": 24}),
            "partners.acme-assurances.suppression: no channel to pass withdrawals on (topic or endpoint): "
            "every transfer to it will be held",
        ),
        (
            acme(suppression={"endpoint": "http://acme.example"}),
            "partners.acme-assurances.suppression.endpoint: http sends withdrawals unencrypted; use https",
        ),
        (
            acme(contract=None),
            "partners.acme-assurances.contract: there is no contract, though the partner is active: "
            "every transfer to it will be held",
        ),
        (
            acme(contract={"valid_from": "2020-01-01T00:00:00Z", "no_onward": False}),
            "partners.acme-assurances.contract.no_onward: the contract does not forbid to pass prospects on, "
            "though the partner is active: every transfer to it will be held",
        ),
        (
            acme(contract={"no_onward": True}),
            "partners.acme-assurances.contract.valid_from: the contract does not say since when it holds, "
            "though the partner is active: every transfer to it will be held",
        ),
        (
            acme(role="processor"),
            "partners.acme-assurances.role: the partner is not a controller, though the partner is active: "
            "every transfer to it will be held",
        ),
        (
            acme(listed=[]),
            "partners.acme-assurances.listed: the partner never stood on the list of partners, "
            "though the partner is active: every transfer to it will be held",
        ),
        (
            acme(country=None),
            "partners.acme-assurances.country: the country is not known, though the partner is active: "
            "every transfer to it will be held",
        ),
        (
            acme(listed=[{"from": "2020-01-01T00:00:00Z"}, {"from": "2022-01-01T00:00:00Z"}]),
            "partners.acme-assurances.listed[1]: overlaps with listed[0]",
        ),
        (
            notice(attributes=["first_name", "last_name", "city", "housing", "health_segmnt"]),
            "notices.n-2026-09.attributes[4]: health_segmnt is not in the policy, so it never goes out; "
            "did you mean health_segment?",
        ),
        (
            acme(fields=["first_name", "health_segment"]),
            "partners.acme-assurances.fields[1]: health_segment is declared by no notice, so it never goes out",
        ),
        (
            acme(
                listed=[{"from": "2020-01-01T00:00:00Z", "to": "2021-01-01T00:00:00Z"}, {"to": "2020-01-01T00:00:00Z"}]
            ),
            "partners.acme-assurances.listed[1]: has no start (from), so it never counts",
        ),
        (
            acme(transfer_safeguard={"type": "binding_corporate_rules"}),
            "partners.acme-assurances.transfer_safeguard: has no start (valid_from), so it never counts",
        ),
        (
            lambda objects: objects["notices"]["n-2022-01"].pop("published_from"),
            "notices.n-2022-01: has no start (published_from): what was collected under it will be held",
        ),
        (policy(jurisdiction="BE"), "policy.jurisdiction: only the rules of FR exist: every transfer will be held"),
    ],
)
def test_a_doubt_is_told_once_with_what_follows_from_it(change: Change, said: str) -> None:
    """One change that is allowed but doubtful gives one warning, at the field to look at."""
    assert warnings(change) == [said]


def test_a_registry_without_partners_is_doubtful() -> None:
    """Nothing can be released; notices name partners without a file, too."""
    told = warnings(lambda objects: objects.update(partners={}))
    assert told[0] == "policy: the registry holds no partner: every transfer will be held"


@pytest.mark.parametrize(
    "change",
    [
        acme(status="paused", contract=None, listed=[]),
        acme(status="suspended", role=None),
        partner_list(version="2026-09"),
        partner_list(version="spring list"),
        lambda objects: [
            notice["partner_list"].update(version=name[2:6]) for name, notice in objects["notices"].items()
        ],
        lambda objects: objects["notices"].pop("n-2022-01"),
        notice(partner_list=None),
    ],
    ids=["paused", "suspended", "a date is no running number", "words", "years", "the oldest notice goes", "no list"],
)
def test_no_doubt_where_nothing_follows(change: Change) -> None:
    """What is held anyway, or may be meant, is not reported."""
    assert warnings(change) == []
