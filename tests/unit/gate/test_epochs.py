"""What leader epochs say about what was fetched: the comparison itself. On a broker: tests/faults/test_lost_tail.py."""

from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from transfer_gate.gate.inbox import Fetched, Inbox, Reached
from transfer_gate.gate.integrity.commit_note import read_note
from transfer_gate.gate.integrity.inputs import LeaderEpochs, Place
from transfer_gate.gate.integrity.logs import HistoryLost
from transfer_gate.kafka.transaction import Committed
from transfer_gate.records.commit_notes import CommitNote, LogIdentity


class Log:
    """Epochs of a log, and where they end; counts how often it is asked."""

    def __init__(self, ends: Mapping[int, int]) -> None:
        self.ends = ends
        self.asked = 0

    async def __call__(self, asked: Mapping[Place, int]) -> dict[Place, int]:
        self.asked += 1
        return {place: self.ends[epoch] for place, epoch in asked.items()}


def led_by(epoch: int) -> SimpleNamespace:
    """Metadata of one partition."""
    return SimpleNamespace(topics=[(0, "consents", "id", False, [(0, 3, 1, epoch, [], [], [], {})])])


async def test_what_was_fetched_of_the_leader_of_now_is_not_asked_about() -> None:
    epochs = LeaderEpochs(Log({}))
    epochs.learn(led_by(5))
    assert not epochs.doubtful("consents", 3, [Reached(5, 20)])
    assert not epochs.doubtful("consents", 3, [])


async def test_a_new_leader_with_a_whole_log_is_asked_once() -> None:
    log = Log({5: 20})
    epochs = LeaderEpochs(log)
    epochs.learn(led_by(6))
    assert epochs.doubtful("consents", 3, [Reached(5, 20)])
    await epochs.require("consents", 3, [Reached(5, 20)])
    assert not epochs.doubtful("consents", 3, [Reached(5, 20)])
    assert epochs.doubtful("consents", 3, [Reached(5, 21)])
    epochs.learn(led_by(7))
    assert epochs.doubtful("consents", 3, [Reached(5, 20)])
    assert log.asked == 1


@pytest.mark.parametrize("end", [10, -1])
async def test_a_new_leader_that_lacks_what_was_fetched_is_noticed(end: int) -> None:
    epochs = LeaderEpochs(Log({5: end}))
    epochs.learn(led_by(6))
    with pytest.raises(HistoryLost, match="under leader epoch 5 they were taken up to offset 20"):
        await epochs.require("consents", 3, [Reached(5, 20)])


async def test_batches_of_a_new_leader_behind_those_of_an_older_one_are_doubtful_before_metadata_tell() -> None:
    epochs = LeaderEpochs(Log({5: 10, 6: 25}))
    inbox = Inbox(10, 20, 5)
    inbox.put(Fetched.of([], 25, (Reached(6, 25),)))
    assert epochs.doubtful("consents", 3, inbox.reached)
    with pytest.raises(HistoryLost, match="ends at 10 now"):
        await epochs.require("consents", 3, inbox.reached)


def test_an_inbox_knows_the_epoch_before_each_offset_that_is_done_with() -> None:
    inbox = Inbox(10)
    inbox.put(Fetched.of([], 20, (Reached(4, 8), Reached(5, 20))))
    inbox.put(Fetched.of([], 25, (Reached(5, 22), Reached(7, 25))))
    assert [inbox.epoch_before(offset) for offset in (3, 8, 9, 22, 23, 25, 26)] == [4, 4, 5, 5, 7, 7, -1]
    assert inbox.reached == [Reached(7, 25)]


def test_an_epoch_that_goes_backwards_is_refused() -> None:
    inbox = Inbox(10, 20, 5)
    with pytest.raises(ValueError, match="leader epoch 4 came behind one of 5"):
        inbox.put(Fetched.of([], 25, (Reached(4, 25),)))


def test_a_note_keeps_the_epoch_and_one_of_before_has_none() -> None:
    note = CommitNote("a", topics={"consents": LogIdentity("id", 1, 5)})
    assert read_note(Committed(0, str(note))) == note
    before = "life=a changelog=0 ledger=0 topics=consents:id:1"
    assert read_note(Committed(0, before)) == CommitNote("a", topics={"consents": LogIdentity("id", 1)})
