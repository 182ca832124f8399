"""The case files hold, and together they show every rule both ways."""

from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from transfer_gate.cases import Case, read, run
from transfer_gate.cases.run import folded
from transfer_gate.cases.written_stops import stops_of
from transfer_gate.model.terms import REASONS
from transfer_gate.policy.catalogue import GUARD, RULES
from transfer_gate.policy.explain import explain
from transfer_gate.records.transfers import SchemaInvalid, decode_transfer

CASES = Path(__file__).parents[2] / "cases"


@cache
def _cases() -> tuple[Case, ...]:
    return tuple(case for file in read([CASES]) for case in file.cases)


def _id(case: Case) -> str:
    return f"{case.path.relative_to(CASES)}:{case.line}"


@pytest.mark.parametrize("case", _cases(), ids=_id)
def test_case(case: Case) -> None:
    assert run(case).differences == ()


def test_every_rule_is_shown_to_hold_on_a_release_and_to_fail() -> None:
    held: dict[str, int] = defaultdict(int)
    expected = {
        reason for case in _cases() for e in case.expect.values() for r in e.quarantine.values() for reason in r
    }
    for case in _cases():
        try:
            transfer = decode_transfer(case.transfer)
        except SchemaInvalid:
            continue
        state = folded(case.consents, case.prospect, case.received, bounds=case.bounds)
        stops = stops_of(transfer, case.stops)
        for told in explain(transfer, state, case.registry, case.at, stops):
            for channel in told.channels:
                if told.partner_id in case.expect and channel.released:
                    for finding in channel.rules:
                        held[finding.rule] += finding.verdict == "held"
    # No input can make the guard fail: tests/unit/policy/test_decide.py does it with a defect. And where this rule
    # applies it fails: without an own contract, for it is only then that another contract is relied on.
    assert {rule.id for rule in RULES} - expected == {GUARD.id}
    assert {rule.id for rule in RULES if not held[rule.id]} == {"phone-ongoing-contract"}


def test_every_reason_of_the_gate_that_a_case_can_have_is_shown() -> None:
    expected = {
        reason for case in _cases() for e in case.expect.values() for r in e.quarantine.values() for reason in r
    }
    # These need bytes that are no JSON, other coordinates, or a defect.
    of_coordinates = {"undecodable", "too-large", "key-mismatch", "key-misplaced"}
    of_the_stream = {"partner-recall-overdue", "rule-error", GUARD.id}
    assert set(REASONS) - expected == of_coordinates | of_the_stream
