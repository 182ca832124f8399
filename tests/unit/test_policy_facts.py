"""Facts, rules and obligations asked directly, where no whole decision would come: each holds its own definition."""

import copy
import datetime as dt
from typing import Any

import pytest

from tests.property.scenarios import CLEAN, KINDS, put, world
from transfer_gate.model.terms import Channel
from transfer_gate.policy.catalogue import RULES, Plan
from transfer_gate.policy.facts import Facts
from transfer_gate.policy.obligations import use_before
from transfer_gate.policy.rule import Rule
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
    f = _facts("calls", channel, ("transfer.use_until", "2029-01-01T00:00:00Z"))
    assert use_before(f) == dt.datetime(2027, 3, 10, 13, tzinfo=dt.UTC)
    without = _facts("calls", channel, ("transfer.use_until", "2029-01-01T00:00:00Z"), ("consents.0.proof", None))
    assert use_before(without) == dt.datetime(2029, 1, 1, tzinfo=dt.UTC)


def test_rules_and_plans_do_not_change() -> None:
    for of, name in ((RULES[0], "id"), (Plan((), (), (), (), 0), "shared")):
        with pytest.raises(AttributeError):
            setattr(of, name, None)
