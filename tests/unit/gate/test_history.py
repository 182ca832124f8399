"""What must still be in the logs: the comparison itself. On a real broker: tests/integration/gate/test_history.py."""

from typing import Final

import pytest

from transfer_gate.gate.integrity.commit_note import noted, read_note
from transfer_gate.gate.integrity.logs import HistoryLost, require_events, require_log
from transfer_gate.gate.integrity.offsets import (
    OffsetMoved,
    OffsetsLost,
    offsets_set,
    require_not_again,
    require_nothing_skipped,
    require_offsets,
)
from transfer_gate.kafka.transaction import Committed
from transfer_gate.records.commit_notes import CommitNote, LogIdentity


def test_a_note_says_up_to_where_the_logs_reach_and_in_which_life() -> None:
    note = str(CommitNote("first", 12, 5))
    assert note == "life=first changelog=12 ledger=5"
    assert noted(Committed(3, note)) == CommitNote("first", 12, 5)
    assert (noted(Committed(3, note)).changelog, noted(Committed(3, note)).ledger) == ((12, "first"), (5, "first"))


@pytest.mark.parametrize(
    "note", ["", "changelog=7", "life=a", "life=a changelog=7", "life=a changelog=x ledger=1", "by others"]
)
def test_without_a_note_of_ours_another_life_begins(note: str) -> None:
    first, second = noted(Committed(3, note)), noted(Committed(3, note))
    assert (first.changelog_end, second.changelog_end) == (0, 0)
    assert first.life != second.life


def test_a_group_that_has_committed_nothing_begins_another_life() -> None:
    assert noted(None).changelog_end == 0
    assert noted(None).life != noted(None).life


@pytest.mark.parametrize(
    ("applied", "begin", "end"), [(None, 0, 0), (None, 9, 12), (0, 0, 0), (9, 0, 12), (9, 9, 12), (9, 0, 9), (9, 9, 9)]
)
def test_events_that_were_applied_or_never_asked_for_may_be_deleted(applied: int | None, begin: int, end: int) -> None:
    require_events("consents", 3, applied, begin, end)


@pytest.mark.parametrize(
    ("begin", "end", "told"),
    [(9, 12, "begins at offset 9, but only those below 8"), (0, 7, "ends at offset 7, but events up to 8")],
)
def test_events_that_were_deleted_unread_or_truncated_are_missed(begin: int, end: int, told: str) -> None:
    with pytest.raises(HistoryLost, match=f"partition 3 of consents {told}"):
        require_events("consents", 3, 8, begin, end)


@pytest.mark.parametrize(
    ("reach", "held", "begin", "end"),
    [
        (0, 0, 0, 0),  # a first start
        (0, 0, 5, 8),  # nothing is known of before
        (8, 0, 0, 8),
        (8, 0, 0, 9),  # the marker of the commit
        (8, 6, 6, 9),  # what was deleted is held
    ],
)
def test_a_log_that_reaches_as_far_as_was_noted_is_whole(reach: int, held: int, begin: int, end: int) -> None:
    require_log("log", 1, reach, held, begin, end)


@pytest.mark.parametrize(
    ("reach", "held", "begin", "end", "told"),
    [
        (8, 0, 0, 7, "ends at offset 7, but committed rounds have written it up to 8"),
        (8, 0, 0, 0, "ends at offset 0"),
        (8, 8, 0, 0, "ends at offset 0"),
        (8, 0, 1, 9, "begins at offset 1"),
        (8, 5, 6, 9, "begins at offset 6"),
    ],
)
def test_a_log_that_lacks_something_is_refused(reach: int, held: int, begin: int, end: int, told: str) -> None:
    with pytest.raises(HistoryLost, match=f"partition 1 of log {told}") as caught:
        require_log("log", 1, reach, held, begin, end)
    assert "reset the group's offsets of consent-events" in caught.value.do


OURS = Committed(0, str(CommitNote("first", 12, 5)))
WITHOUT_NOTE = Committed(0, "")


@pytest.mark.parametrize(
    ("committed", "worked"),
    [
        ({}, False),  # a first start
        ({"transfers": Committed(7, ""), "consents": OURS}, True),
        ({"transfers": Committed(0, "")}, True),  # set by hand, or consents made anew
        ({"consents": OURS}, True),  # transfers never looked at, or made anew
        ({"ledger": OURS}, True),  # all inputs made anew
        ({"consents": WITHOUT_NOTE}, False),
    ],
)
def test_a_group_that_knows_where_it_stands_or_never_worked_may_begin(
    committed: dict[str, Committed], worked: bool
) -> None:
    require_offsets("transfers", 2, committed, has_state=worked)


NOTED: Final = CommitNote("a", topics={"in": LogIdentity("id-1")}, offsets={"in": 7})


@pytest.mark.parametrize(
    ("found", "topic_id", "moved"),
    [
        (Committed(7, str(NOTED)), "id-1", {}),
        (Committed(7, ""), "id-1", {}),
        (Committed(9, ""), "id-1", {"in": (7, 9)}),
        (Committed(2, str(NOTED)), "id-1", {"in": (7, 2)}),
        (Committed(0, str(NOTED)), "id-2", {}),  # made anew
    ],
)
def test_an_offset_that_the_gate_has_not_committed_is_known_by_the_note(
    found: Committed, topic_id: str, moved: dict[str, tuple[int, int]]
) -> None:
    note = read_note(Committed(0, str(NOTED)))
    assert note == NOTED
    assert offsets_set({"in": found, "other": found}, note, {"in": topic_id}) == moved


def test_an_offset_that_was_deleted_while_notes_beside_others_stand_was_set_back() -> None:
    """As by `kafka-consumer-groups --delete-offsets`: the gate would begin at the earliest."""
    assert offsets_set({"other": Committed(3, str(NOTED))}, NOTED, {"in": NOTED.topics["in"].topic_id}) == {
        "in": (NOTED.offsets["in"], 0)
    }


def test_consent_events_may_be_folded_again_but_never_be_skipped() -> None:
    for moved in (None, (7, 7), (7, 0)):
        require_nothing_skipped("in", 2, moved)
    with pytest.raises(
        OffsetMoved, match="partition 2 of in: the group's offset was set to 9, but only events below 7"
    ):
        require_nothing_skipped("in", 2, (7, 9))


def test_transfers_may_be_skipped_but_not_be_decided_again_unless_others_stand_there() -> None:
    for moved, epoch_end in ((None, None), ((7, 9), 9), ((7, 7), 9), ((7, 4), 4)):
        require_not_again("in", 2, moved, epoch_end)
    for epoch_end in (None, 7, 5):
        with pytest.raises(OffsetMoved, match="set back to 4, or deleted, but transfers below 7 are decided"):
            require_not_again("in", 2, (7, 4), epoch_end)


@pytest.mark.parametrize("committed", [{}, {"replay": Committed(3, "")}, {"consents": WITHOUT_NOTE}])
def test_a_group_that_worked_and_was_forgotten_is_refused(committed: dict[str, Committed]) -> None:
    with pytest.raises(OffsetsLost, match="partition 2: the group has no offset of transfers") as caught:
        require_offsets("transfers", 2, committed, has_state=True)
    assert caught.value.exit_code == 1
    assert "set the group's offsets of transfers to where the decisions end" in caught.value.do
