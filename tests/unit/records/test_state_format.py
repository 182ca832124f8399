"""The number in front of every state says who may read it.

Without it an older worker read a newer state, and wrote it back without what it did not know.
"""

import datetime as dt
import json
from typing import Final

import msgspec
import pytest

from transfer_gate.gate.overlay import Overlay
from transfer_gate.gate.table import MemorySlice
from transfer_gate.model.state import EMPTY, Opposition, ProspectState
from transfer_gate.records.state import STATE_FORMAT, StateTooNew, decode_state, encode_state

MARCH: Final = dt.datetime(2026, 3, 10, tzinfo=dt.UTC)
OBJECTED: Final = ProspectState(objections=(Opposition(event_time=MARCH, event_id="o-1"),))


@pytest.mark.parametrize("state", [EMPTY, OBJECTED], ids=["empty", "objected"])
def test_a_state_carries_the_number_of_its_format_and_survives(state: ProspectState) -> None:
    raw = encode_state(state)
    assert json.loads(raw)["format"] == STATE_FORMAT
    assert decode_state(raw) == state


@pytest.mark.parametrize("newer", [STATE_FORMAT + 1, STATE_FORMAT * 10])
@pytest.mark.parametrize("last", [False, True], ids=["first member", "last member"])
def test_a_state_that_a_newer_version_wrote_is_refused_and_stays_as_it_is(newer: int, last: bool) -> None:
    members = json.loads(encode_state(OBJECTED)) | {"never_heard_of": [1]}
    del members["format"]
    whole = members | {"format": newer} if last else {"format": newer} | members
    table = MemorySlice()
    table.update({b"p": msgspec.json.encode(whole)}, 1)
    overlay = Overlay(table)
    with pytest.raises(StateTooNew, match=f"format {newer}") as refused:
        overlay.get(b"p")
    assert "newer version" in str(refused.value)
    assert refused.value.do
    assert list(overlay.changes()) == []


def test_states_of_the_formats_before_are_read_with_all_that_they_forbid() -> None:
    def at(day: int) -> str:
        return f"2026-03-{day:02}T00:00:00Z"

    consent = {"event_id": "c-1", "record_id": "r-1", "state": "given"}
    former = {
        "consents": [
            consent | {"event_time": at(9), "received_at": at(2)},
            consent | {"event_id": "c-2", "event_time": at(4)},
        ],
        "objections": [{"event_time": at(10), "event_id": "o-1"}],
        "erased_at": at(11),
        "restricted_at": at(12),
        "lifted_at": at(13),
        "future_lifts": [{"event_time": at(30), "event_id": "l-1", "received_at": at(14)}],
        "unreadable": [7],
    }
    for number in ({}, {"format": 1}, {"format": 2}):
        state = decode_state(msgspec.json.encode(number | former))
        assert [version.event_id for version in state.consents] == ["c-2", "c-1"]
        assert state.objections == OBJECTED.objections
        assert [state.erased_at, state.restricted_at] == [MARCH.replace(day=11), MARCH.replace(day=12)]
        assert state.lifted_by(MARCH.replace(day=29)) == MARCH.replace(day=13)
        assert state.lifted_by(MARCH.replace(day=30)) == MARCH.replace(day=14)
        assert state.blocked()
        assert decode_state(encode_state(state)) == state
    assert decode_state(b"{}") == EMPTY


def test_a_state_of_the_format_before_bounds_keeps_everything() -> None:
    events = [{"event_time": "2026-03-10T00:00:00Z", "event_id": "x-1"}]
    members = {"format": 3, "erasures": events, "restrictions": events, "lifts": events, "resolved": [7]}
    state = decode_state(msgspec.json.encode(members))
    assert json.loads(encode_state(state)) == members | {"format": STATE_FORMAT}
    assert not state.overflowed
