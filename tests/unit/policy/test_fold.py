"""Folding where two events say something about the same thing: which one counts (contract section 3)."""

import datetime as dt
import itertools
import json
from typing import Any, Final

import pytest

from transfer_gate.model.consent import ConsentEvent
from transfer_gate.model.state import EMPTY, ProspectState
from transfer_gate.policy.fold import fold
from transfer_gate.policy.legal_time import FAR_FUTURE
from transfer_gate.policy.state_facts import current_records
from transfer_gate.records.consents import decode_consent

TIME: Final = "2026-03-10T14:00:00Z"
#: From what counts least to what counts most, at the same time; states of one rank are told apart by the event id.
GRAVITY: Final = (("given", "renewed"), ("refused",), ("expired",), ("invalidated",))


def _folded(*events: dict[str, Any]) -> ProspectState:
    state = EMPTY
    for offset, event in enumerate(events):
        raw = json.dumps({"prospect_id": "p-1", **event}).encode()
        state = fold(state, decode_consent(raw, b"p-1"), offset)
    return state


def _version(event_id: str, state: str) -> dict[str, Any]:
    return {"type": "consent", "event_id": event_id, "event_time": TIME, "record_id": "r-1", "state": state}


def _counts(*versions: dict[str, Any]) -> str:
    """The state of the record, as the rules see it."""
    state = _folded(*versions)
    live, withdrawals = current_records(state, FAR_FUTURE)
    greatest = state.consents[-1].state
    assert bool(live) == (greatest in ("given", "renewed"))
    assert bool(withdrawals) == (greatest == "refused")
    return greatest


@pytest.mark.parametrize(
    ("milder", "graver"),
    [
        (milder, graver)
        for less, more in itertools.combinations(GRAVITY, 2)
        for milder, graver in itertools.product(less, more)
    ],
)
def test_at_the_same_time_the_graver_state_of_a_record_counts_whatever_the_ids(milder: str, graver: str) -> None:
    for first, second in (("a", "b"), ("b", "a")):
        assert _counts(_version(first, milder), _version(second, graver)) == graver
        assert _counts(_version(first, graver), _version(second, milder)) == graver


def test_given_and_renewed_at_the_same_time_are_told_apart_by_the_event_id() -> None:
    for lesser, greater in (("given", "renewed"), ("renewed", "given")):
        assert _counts(_version("a", lesser), _version("b", greater)) == greater
        assert _counts(_version("b", greater), _version("a", lesser)) == greater


@pytest.mark.parametrize("kind", ["withdrawal", "objection"])
def test_of_two_oppositions_with_one_scope_the_later_one_counts(kind: str) -> None:
    """A consent in between overcomes the earlier one only."""
    early = {"type": kind, "event_id": "e-1", "event_time": TIME, "scope": {"channels": ["email"]}}
    late = early | {"event_id": "e-2", "event_time": "2026-05-10T14:00:00Z"}
    for events in ((early, late), (late, early)):
        state = _folded(*events)
        assert [x.event_id for x in (state.withdrawals or state.objections)] == ["e-1", "e-2"]


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def test_an_event_that_is_dated_after_its_receipt_counts_at_its_earliest_receipt() -> None:
    event = {"event_id": "c-1", "prospect_id": "p-1", "type": "consent", "event_time": "2026-10-02T18:00:00+02:00"}
    body = {**event, "record_id": "r-1", "state": "refused", "proof": {"proof_id": "proof-1"}}
    decoded = decode_consent(json.dumps(body).encode(), b"p-1")
    first, second = at("2026-10-01T10:00:00+00:00"), at("2026-10-01T12:00:00+00:00")
    states = [
        fold(fold(EMPTY, decoded, 0, one), decoded, 1, other) for one, other in ((first, second), (second, first))
    ]
    assert states[0] == states[1]
    (kept,) = states[0].consents
    assert (kept.counted_at, states[0].proofs) == (first, {"proof-1": first})


def test_a_lift_that_is_dated_in_the_future_is_left_out_until_then_and_then_counts_at_its_receipt() -> None:
    def event(kind: str, when: str) -> ConsentEvent:
        body = {"event_id": kind, "prospect_id": "p-1", "type": kind, "event_time": when}
        return decode_consent(json.dumps(body).encode(), b"p-1")

    received = at("2026-10-02T00:00:00+00:00")
    state = fold(EMPTY, event("restriction", "2026-10-01T00:00:00Z"), 0, received)
    state = fold(state, event("restriction_lifted", "2026-11-01T00:00:00Z"), 1, received)
    assert state.lifted_by(at("2026-10-31T00:00:00+00:00")) is None
    assert state.lifted_by(at("2026-11-01T00:00:00+00:00")) == received


def test_a_lift_that_is_repeated_after_its_date_still_counts_at_its_first_receipt() -> None:
    def event(kind: str, when: str) -> ConsentEvent:
        body = {"event_id": kind, "prospect_id": "p-1", "type": kind, "event_time": when}
        return decode_consent(json.dumps(body).encode(), b"p-1")

    lift = event("restriction_lifted", "2026-09-10T00:00:00Z")
    state = fold(EMPTY, lift, 0, at("2026-09-01T00:00:00+00:00"))
    state = fold(state, event("restriction", "2026-09-05T00:00:00Z"), 1, at("2026-09-05T00:00:00+00:00"))
    assert fold(state, lift, 2, at("2026-09-11T00:00:00+00:00")) is state
    assert state.lifted_by(at("2026-09-12T00:00:00+00:00")) == at("2026-09-01T00:00:00+00:00")
