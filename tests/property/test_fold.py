"""Properties of folding: order and repetition of events leave no trace (contract section 3)."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.scenarios import Objects, folded, more_events, scenarios, world
from transfer_gate.model.consent import ConsentEvent
from transfer_gate.model.state import ProspectState
from transfer_gate.policy.decide import decide
from transfer_gate.policy.fold import fold, fold_unreadable

_thorough = settings(max_examples=400, deadline=None)
_encode = msgspec.json.Encoder().encode


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, ConsentEvent | None]]:
    """Consent events of one prospect, each with its offset."""
    scenario = draw(scenarios(most_changes=1))
    scenario["consents"] += [draw(more_events(10 + number)) for number in range(draw(st.integers(0, 8)))]
    return list(enumerate(world(scenario).events))


@_thorough
@given(histories(), st.data())
def test_any_order_and_any_repetition_give_the_same_state_to_the_byte(
    history: list[tuple[int, ConsentEvent | None]], data: st.DataObject
) -> None:
    shuffled = data.draw(
        st.permutations(history + data.draw(st.lists(st.sampled_from(history)) if history else st.just([])))
    )
    assert _encode(folded(list(shuffled))) == _encode(folded(history))


@_thorough
@given(histories())
def test_an_event_that_changes_nothing_gives_the_very_same_object(
    history: list[tuple[int, ConsentEvent | None]],
) -> None:
    state = folded(history)
    for offset, event in history:
        again = fold_unreadable(state, offset) if event is None else fold(state, event, offset + 100)
        assert again is state


@_thorough
@given(histories())
def test_the_state_survives_its_own_encoding(history: list[tuple[int, ConsentEvent | None]]) -> None:
    state = folded(history)
    assert msgspec.json.decode(_encode(state), type=ProspectState) == state


@_thorough
@given(scenarios(), st.data())
def test_the_decision_does_not_depend_on_the_order_of_events(scenario: Objects, data: st.DataObject) -> None:
    here = world(scenario)
    shuffled = data.draw(st.permutations(list(enumerate(here.events))))
    other = folded(list(shuffled))
    assert decide(here.transfer, other, here.registry, here.t) == decide(
        here.transfer, here.state, here.registry, here.t
    )
