"""What a commit notes, and in which life of its logs a partition is."""

import pytest

from transfer_gate.gate.integrity.commit_note import noted, read_note
from transfer_gate.kafka.coordinator import Committed
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


def test_a_note_keeps_the_epoch_and_one_of_before_has_none() -> None:
    note = CommitNote("a", topics={"consents": LogIdentity("id", 1, 5)})
    assert read_note(Committed(0, str(note))) == note
    before = "life=a changelog=0 ledger=0 topics=consents:id:1"
    assert read_note(Committed(0, before)) == CommitNote("a", topics={"consents": LogIdentity("id", 1)})
