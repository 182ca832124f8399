"""The number in front of every state says who may read it.

Without it an older worker read a newer state, and wrote it back without what it did not know.
"""

import datetime as dt
import json
from typing import Final

import msgspec
import pytest

from transfer_gate.model.state import EMPTY, Opposition, ProspectState
from transfer_gate.stream.overlay import Overlay
from transfer_gate.stream.slices import MemorySlice
from transfer_gate.wire.state import STATE_FORMAT, StateTooNew, decode_state, encode_state

OBJECTED: Final = ProspectState(
    objections=(Opposition(event_time=dt.datetime(2026, 3, 10, tzinfo=dt.UTC), event_id="o-1"),)
)


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


def test_a_state_of_the_version_before_has_no_number_and_is_read() -> None:
    assert decode_state(msgspec.json.encode(OBJECTED)) == OBJECTED
    assert decode_state(b"{}") == EMPTY
