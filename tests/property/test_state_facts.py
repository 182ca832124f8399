"""What is remembered of a large state changes no decision, and is worked out once for all transfers of a round."""

import datetime as dt
import json
from typing import Any, Final

import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.property.scenarios import CHANNELS, CLEAN, CONSENT, Objects, received_events, scenarios, world
from transfer_gate.gate import overlay
from transfer_gate.gate.round import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, Tables
from transfer_gate.model.state import EMPTY
from transfer_gate.model.topics import Topics
from transfer_gate.policy import state_facts
from transfer_gate.policy.decide import decide
from transfer_gate.policy.fold import fold
from transfer_gate.records.consents import decode_consent
from transfer_gate.records.state import decode_state, encode_state
from transfer_gate.registry import registry_from_objects

CONSENTS: Final = 900
NOW: Final = dt.datetime(2026, 10, 5, 8, tzinfo=dt.UTC)


@pytest.mark.interpreted
@settings(max_examples=300, deadline=None)
@given(scenarios(), received_events(), st.data())
def test_what_is_remembered_of_a_state_changes_no_decision(
    scenario: Objects, more: tuple[list[Objects], list[dt.datetime | None]], data: st.DataObject
) -> None:
    events, received = more
    scenario["received"] = [*[None] * len(scenario["consents"]), *received]
    scenario["consents"] += events
    here = world(scenario)
    asked: list[Any] = [
        here.transfer,
        replace(here.transfer, channels=tuple(CHANNELS), partner_ids=("helios", "acme", "acme-direct")),
        replace(here.transfer, purpose="social_matching"),
        replace(here.transfer, offer_category="renewable", channels=tuple(CHANNELS)),
    ]
    later = here.t + dt.timedelta(days=200)
    expected = [[decide(transfer, here.state, here.registry, t) for transfer in asked] for t in (here.t, later)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_facts, "FEW_EVENTS", 0)
        for place in data.draw(st.permutations([*range(len(asked))] * 2)):
            for times, t in enumerate((here.t, later)):
                assert decide(asked[place], here.state, here.registry, t) == expected[times][place]


@pytest.mark.interpreted
def test_the_transfers_of_two_persons_of_900_consents_share_what_was_worked_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table, counts = MemorySlice(), {"compared": 0, "decoded": 0}
    for prospect in ("p-1", "p-2"):
        state = EMPTY
        for number in range(CONSENTS):
            body = CONSENT | {"event_id": f"c-{number}", "record_id": f"r-{number}", "prospect_id": prospect}
            state = fold(state, decode_consent(json.dumps(body).encode(), prospect.encode()), number)
        table.update({prospect.encode(): encode_state(state)}, 1)

    def counted(name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            counts[name] += 1
            return function(*arguments)

        return call

    monkeypatch.setattr(state_facts, "_nearness", counted("compared", state_facts._nearness))
    monkeypatch.setattr(overlay, "decode_state", counted("decoded", decode_state))
    book = Rulebook.of(Topics(), registry_from_objects(CLEAN["registry"]))
    records = []
    for offset in range(100):
        prospect = f"p-{1 + offset % 2}"
        value = json.dumps(CLEAN["transfer"] | {"event_id": f"t-{offset}", "prospect_id": prospect}).encode()
        records.append(ConsumerRecord(book.transfers, 0, offset, 0, 0, prospect.encode(), value, None, 3, 0, ()))
    work = Round(book, Tables(table, MemorySlice()), 0, NOW)
    assert work.decide(records, CONSENTS) == len(records)
    assert work.outcomes == {("acme", "released"): 200}
    assert counts == {"compared": 2 * 2 * CONSENTS, "decoded": 2}  # persons, channels
