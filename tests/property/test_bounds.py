"""What a state keeps is bounded (contract section 3): nothing is released behind what was not kept."""

import datetime as dt
import itertools
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.oracle import overflow, verdict
from tests.property.scenarios import INSTANTS, Objects, more_events, scenarios, world
from transfer_gate.model.consent import Erasure, Objection, Withdrawal
from transfer_gate.model.state import EMPTY, Bounds, ProspectState
from transfer_gate.policy import bounds as bounds_of
from transfer_gate.policy.bounds import UNREADABLE_ON_TOP, compacted, fits, history_records, size_after
from transfer_gate.policy.decide import decide
from transfer_gate.policy.fold import fold, fold_unreadable
from transfer_gate.records.consents import Unreadable, decode_consent

_thorough = settings(max_examples=200, deadline=None)
FEW = Bounds(history_records=4)
#: What widened, an erasure or a restriction may stand beside what fits.
BESIDE = 4


@st.composite
def in_order(draw: st.DrawFn, most: int = 12) -> Objects:
    """A scenario whose events are received one after the other, some dated after that."""
    scenario = draw(scenarios(most_changes=1))
    scenario["consents"] += [draw(more_events(10 + number)) for number in range(draw(st.integers(0, most)))]
    receipts = sorted(draw(st.sampled_from(INSTANTS)) for _ in scenario["consents"])
    scenario["received"] = sorted(dt.datetime.fromisoformat(receipt) for receipt in receipts)
    return scenario


def _states(scenario: Objects, bounds: Bounds) -> list[ProspectState]:
    """The state after each event."""
    states = [EMPTY]
    for offset, (event, received) in enumerate(world(scenario).pairs):
        before = states[-1]
        if event is None:
            states.append(fold_unreadable(before, offset, bounds))
        else:
            states.append(fold(before, event, offset, received, bounds))
    return states


def _folded(scenario: Objects, bounds: Bounds) -> ProspectState:
    return _states(scenario, bounds)[-1]


@_thorough
@given(in_order())
def test_a_bounded_state_decides_by_all_that_came_or_releases_nothing(scenario: Objects) -> None:
    here = world(scenario)
    t = max([here.t, *(received for received in here.received if received is not None)])
    states = _states(scenario, FEW)
    state = states[-1]
    erased_when_full = any(
        isinstance(event, Erasure) and history_records(before) >= FEW.history_records
        for event, before in zip(here.events, states, strict=False)
    )
    whole = not erased_when_full and not any(known.overflowed for known in states)
    on_top = min(len(state.unreadable), UNREADABLE_ON_TOP)
    assert history_records(state) <= FEW.history_records + BESIDE + on_top
    for decision in decide(here.transfer, state, here.registry, t):
        partner_id, overflowed = decision.partner_id, state.overflowed
        expected = verdict(
            here.transfer, here.events, here.registry, t, partner_id, received=here.received, overflowed=overflowed
        )
        if overflowed:
            assert decision.released == ()
            assert all(reasons[0] == "history-overflow" for reasons in decision.quarantined.values())
        elif whole:
            assert list(decision.released) == expected.released
            assert {channel: list(reasons) for channel, reasons in decision.quarantined.items()} == expected.quarantined
        else:
            assert set(decision.released) <= set(expected.released)
    if not any(isinstance(event, Erasure) for event in here.events):
        assert overflow(here.events, FEW.history_records) in (None, not whole)


@_thorough
@given(in_order())
def test_the_size_of_a_state_follows_from_what_changed(scenario: Objects) -> None:
    states = _states(scenario, FEW)
    for before, after in itertools.pairwise([*states, compacted(states[-1], None)]):
        if EMPTY not in (before, after):
            sizes = len(msgspec.json.encode(before)), len(msgspec.json.encode(after))
            assert size_after(before, sizes[0], after) == sizes[1]
            assert size_after(after, sizes[1], before) == sizes[0]


@pytest.mark.parametrize("kind", ["consent", "withdrawal"])
@pytest.mark.parametrize("overflows", [False, True])
def test_a_state_near_its_bound_is_not_encoded_for_every_event(
    kind: str, overflows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That took 8 ms an event at 512 KiB."""
    whole: list[ProspectState] = []

    def encode(value: object) -> bytes:
        if isinstance(value, ProspectState):
            whole.append(value)
        return msgspec.json.encode(value)

    monkeypatch.setattr(bounds_of, "_encode", encode)
    first = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)

    def folded(before: ProspectState, number: int, **members: object) -> ProspectState:
        time = first + dt.timedelta(days=number)
        body = {"event_id": f"c-{number}", "prospect_id": "p-1", "event_time": time.isoformat(), **members}
        return fold(before, decode_consent(json.dumps(body).encode(), b"p-1"), number, time, bounds)

    bounds = Bounds(history_records=10_000, state_bytes=64 << 10)
    state, number = EMPTY, 0
    while len(msgspec.json.encode(state)) < bounds.state_bytes - 400:
        number += 1
        state = folded(state, number, type="consent", state="given", record_id=f"r-{number}")
    if overflows:
        while not state.overflowed:
            number += 1
            state = folded(state, number, type="consent", state="given", record_id=f"r-{number}")
    whole.clear()
    for _ in range(100):
        number += 1
        more = {"state": "given", "record_id": "r-1"} if kind == "consent" else {}
        state = folded(state, number, type=kind, **more)
    assert len(whole) < 20


def _unbounded(scenario: Objects) -> ProspectState:
    """The same events without bounds."""
    return _folded(scenario, Bounds(history_records=1000))


@_thorough
@given(in_order(), st.integers(0, 3), st.data())
def test_what_a_full_state_leaves_out_changes_no_decision_of_then_or_later(
    scenario: Objects, more: int, data: st.DataObject
) -> None:
    """For all events that are received later, and all times of decisions from then on."""
    here = world(scenario)
    received = [receipt for receipt in here.received if receipt is not None]
    now = max(received, default=here.t)
    whole = _unbounded(scenario)
    less = compacted(whole, now)
    later = sorted(
        data.draw(st.sampled_from([dt.datetime.fromisoformat(instant) for instant in INSTANTS])) for _ in range(more)
    )
    events = [data.draw(more_events(50 + number)) for number in range(more)]
    events += data.draw(st.lists(st.sampled_from(scenario["consents"]), max_size=2)) if scenario["consents"] else []
    for number, body in enumerate(events):
        receipt = max(now, later[number]) if number < more else now
        now = max(now, receipt)
        try:
            event = decode_consent(json.dumps(body).encode(), b"p-1")
        except Unreadable:
            continue
        whole, less = fold(whole, event, 0, receipt), fold(less, event, 0, receipt)
    for t in {now, max(now, here.t), now + dt.timedelta(days=500)}:
        assert decide(here.transfer, less, here.registry, t) == decide(here.transfer, whole, here.registry, t)


@_thorough
@given(in_order())
def test_an_opposition_is_never_dropped(scenario: Objects) -> None:
    """Of what stands against a release by all events, something stands after the history was settled."""
    here = world(scenario)
    state = _folded(scenario, Bounds(history_records=2))
    for event, received in here.pairs:
        if not isinstance(event, Withdrawal | Objection):
            continue
        kept = state.withdrawals if isinstance(event, Withdrawal) else state.objections
        counted = min(event.event_time, received or event.event_time)
        erased = state.erased_at is not None and state.erased_at >= counted
        channels = event.scope.channels if event.scope else "all"
        assert erased or any(
            x.counted_at >= counted
            and (not x.channels or (channels not in (None, "all") and set(channels or "x") <= set(x.channels)))
            for x in kept
        )


def test_an_unreadable_event_that_comes_when_the_state_is_full_blocks_until_it_is_resolved_itself() -> None:
    bounds = Bounds(history_records=20)
    body = {"prospect_id": "p-1", "type": "consent", "state": "given", "event_time": "2026-03-01T00:00:00Z"}
    at = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)

    def folded(state: ProspectState, offset: int, **members: object) -> ProspectState:
        event = decode_consent(json.dumps({**body, "event_id": f"c-{offset}", **members}).encode(), b"p-1")
        return fold(state, event, offset, at + dt.timedelta(seconds=offset), bounds)

    state = EMPTY
    for offset in range(20):
        state = folded(state, offset, record_id=f"r-{offset}")
    assert not state.overflowed
    for offset in (20, 21):
        state = fold_unreadable(state, offset, bounds)
    assert state.overflowed
    settled = {"type": "resolution", "by": "dpo", "why": "looked at"}
    state = folded(state, 22, **settled, resolves=[], history=True, event_time="2026-03-02T01:00:00Z")
    assert not state.overflowed
    assert state.blocked()
    state = folded(state, 23, **settled, resolves=[20])
    assert state.blocked()
    state = folded(state, 24, **settled, resolves=[21])
    assert not state.blocked()


def test_17_000_consents_of_one_prospect_are_marked_and_stay_within_the_bounds() -> None:
    state, bounds = EMPTY, Bounds()
    body = {"prospect_id": "p-1", "type": "consent", "state": "given", "event_time": "2026-03-01T00:00:00Z"}
    for number in range(17_000):
        raw = json.dumps(body | {"event_id": f"c-{number}", "record_id": f"r-{number}"}).encode()
        state = fold(state, decode_consent(raw, b"p-1"), number)
    assert state.overflowed
    assert len(state.consents) == bounds.history_records
    assert fits(state, bounds)


def test_a_nightly_consent_of_one_record_never_fills_the_state() -> None:
    """Each replaces the one before for good."""
    state, first = EMPTY, dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    for number in range(3_000):
        time = first + dt.timedelta(hours=18 * number)
        body = {"prospect_id": "p-1", "type": "consent", "state": "given", "record_id": "r-1"}
        raw = json.dumps(body | {"event_id": f"c-{number}", "event_time": time.isoformat()}).encode()
        state = fold(state, decode_consent(raw, b"p-1"), number, time)
    assert not state.overflowed
    assert state.consents[-1].event_id == "c-2999"


def test_one_event_that_is_larger_than_a_state_may_be_is_not_kept() -> None:
    body = {"prospect_id": "p-1", "type": "consent", "state": "given", "event_time": "2026-03-01T00:00:00Z"}
    raw = json.dumps(body | {"event_id": "c", "record_id": "r", "proof": {"text_hash": "x" * 600_000}}).encode()
    state = fold(EMPTY, decode_consent(raw, b"p-1"), 0)
    assert state == ProspectState(overflowed=True)
