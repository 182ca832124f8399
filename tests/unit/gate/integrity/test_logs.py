"""What must still be in the logs: the comparison itself. On a real broker: tests/integration/gate/test_history.py and
tests/faults/test_lost_tail.py."""

from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from transfer_gate.gate.inbox import Fetched, Inbox, Reached
from transfer_gate.gate.integrity.logs import HistoryLost, LeaderEpochs, Place, require_events, require_log


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
