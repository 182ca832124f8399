"""Properties of folding: order and repetition of events leave no trace (contract section 3)."""

import datetime as dt

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.scenarios import Objects, Received, folded, received_events, scenarios, world
from transfer_gate.model.consent import Erasure
from transfer_gate.policy.decide import decide
from transfer_gate.policy.fold import erases, fold, fold_unreadable
from transfer_gate.records.state import decode_state, encode_state

_thorough = settings(max_examples=400, deadline=None)


@st.composite
def histories(draw: st.DrawFn) -> list[Received]:
    """Consent events of one prospect, each with its offset and its receipt; readable ones are repeated elsewhere."""
    scenario = draw(scenarios(most_changes=1))
    events, received = draw(received_events(most=8))
    scenario["received"] = [*[None] * len(scenario["consents"]), *received]
    scenario["consents"] += events
    return [(offset, event, receipt) for offset, (event, receipt) in enumerate(world(scenario).pairs)]


@_thorough
@given(histories(), st.data())
def test_any_order_and_any_repetition_give_the_same_state_to_the_byte(
    history: list[Received], data: st.DataObject
) -> None:
    shuffled = data.draw(
        st.permutations(history + data.draw(st.lists(st.sampled_from(history)) if history else st.just([])))
    )
    assert encode_state(folded(list(shuffled))) == encode_state(folded(history))


@_thorough
@given(histories())
def test_an_event_that_changes_nothing_gives_the_very_same_object(history: list[Received]) -> None:
    state = folded(history)
    for offset, event, received in history:
        again = fold_unreadable(state, offset) if event is None else fold(state, event, offset + 100, received)
        assert again is state


@_thorough
@given(histories())
def test_an_erasure_is_news_once(history: list[Received]) -> None:
    """A key that was made since the first receipt must not be destroyed by a repetition."""
    state = folded(history)
    for offset, event, received in history:
        if isinstance(event, Erasure):
            for later in (received, event.event_time, dt.datetime(2900, 1, 1, tzinfo=dt.UTC), None):
                assert not erases(state, fold(state, event, offset + 100, later))


@_thorough
@given(histories())
def test_the_state_survives_its_own_encoding(history: list[Received]) -> None:
    state = folded(history)
    assert decode_state(encode_state(state)) == state


@_thorough
@given(scenarios(), received_events(), st.data())
def test_the_decision_does_not_depend_on_the_order_of_events(
    scenario: Objects, more: tuple[list[Objects], list[dt.datetime | None]], data: st.DataObject
) -> None:
    events, received = more
    scenario["received"] = [*[None] * len(scenario["consents"]), *received]
    scenario["consents"] += events
    here = world(scenario)
    history = [(offset, event, receipt) for offset, (event, receipt) in enumerate(here.pairs)]
    other = folded(data.draw(st.permutations(history)))
    assert decide(here.transfer, other, here.registry, here.t) == decide(
        here.transfer, here.state, here.registry, here.t
    )
