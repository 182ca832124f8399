"""Where the group stands, by its notes, and by the decision records where it has none any more."""

from collections.abc import AsyncGenerator, Mapping
from typing import Final

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from transfer_gate.gate.inbox import Record
from transfer_gate.gate.integrity.commit_note import read_note
from transfer_gate.gate.integrity.offsets import (
    DecidedUpTo,
    OffsetMoved,
    OffsetsLost,
    last_decided,
    offsets_set,
    require_not_again,
    require_nothing_skipped,
    require_offsets,
)
from transfer_gate.kafka.coordinator import Committed
from transfer_gate.records.commit_notes import CommitNote, LogIdentity

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


DECISIONS: Final = "transfer-decisions"


TRANSFERS: Final = "prospect-transfers"


HOME: Final = TopicPartition(DECISIONS, 0)


def decision(offset: int, source: int, attempt: int = 1, topic: str = TRANSFERS, topic_id: str = "") -> Record:
    of_topic = f', "topic_id": "{topic_id}"' if topic_id else ""
    value = f"""{{
        "decision_id": "d", "decided_at": "2026-08-12T10:00:00Z", "event_id": "e", "prospect_id": "p-1",
        "source": {{"topic": "{topic}", "partition": 0, "offset": {source}{of_topic}}}, "partner_id": "acme",
        "released": [], "quarantined": {{}}, "consent": {{"offset": 0, "record_ids": []}}, "rule_errors": [],
        "policy": {{"jurisdiction": "FR", "revision": "r", "gate_version": "0"}}, "input_sha256": "",
        "attempt": {attempt}, "replay_run": null
    }}""".encode()
    return ConsumerRecord(DECISIONS, 0, offset, 0, 0, b"p-1", value, None, 3, 0, ())


class Log:
    """One partition of decisions, read as a session reads it; what was asked for stays in `asked`."""

    def __init__(self, *records: Record, begin: int = 0, end: int | None = None) -> None:
        self._records = records
        self._begin = begin
        self._end = len(records) if end is None else end
        self.asked: list[tuple[int, int]] = []

    async def bounds(self, _partitions: Mapping[str, int], *, committed_only: bool) -> tuple[object, object]:
        assert committed_only
        return {HOME: self._begin}, {HOME: self._end}

    async def records(
        self, ends: Mapping[TopicPartition, int], starts: Mapping[TopicPartition, int]
    ) -> AsyncGenerator[list[Record], None]:
        self.asked.append((starts[HOME], ends[HOME]))
        yield [record for record in self._records if starts[HOME] <= record.offset < ends[HOME]]


async def found_in(log: Log) -> DecidedUpTo | None:
    return (await last_decided(log, DECISIONS, TRANSFERS, 1, {0})).get(0)  # type: ignore[arg-type]


async def test_an_empty_log_shows_nothing_and_is_not_read() -> None:
    log = Log()
    assert await found_in(log) is None
    assert log.asked == []


async def test_the_tail_is_enough_where_it_holds_a_first_attempt() -> None:
    log = Log(*(decision(offset, offset // 3) for offset in range(9_000)))
    assert await found_in(log) == DecidedUpTo(3_000)
    assert log.asked == [(8_000, 9_000)]


async def test_replays_behind_the_last_first_attempt_do_not_hide_it() -> None:
    replays = (decision(offset, 3, attempt=2) for offset in range(1, 7_000))
    log = Log(decision(0, 41), *replays)
    assert await found_in(log) == DecidedUpTo(42)
    assert log.asked == [(6_000, 7_000), (2_000, 6_000), (0, 2_000)]


async def test_what_retention_has_left_is_all_that_is_read() -> None:
    log = Log(*(decision(offset, 3, attempt=2) for offset in range(500, 600)), begin=500, end=600)
    assert await found_in(log) is None
    assert log.asked == [(500, 600)]


async def test_other_topics_and_records_of_others_show_nothing() -> None:
    junk = ConsumerRecord(DECISIONS, 0, 2, 0, 0, None, b"{", None, 3, 0, ())
    assert await found_in(Log(decision(0, 5), decision(1, 90, topic="another"), junk)) == DecidedUpTo(6)


async def test_transfers_that_were_decided_twice_already_count_to_the_furthest_of_their_topic() -> None:
    assert await found_in(Log(decision(0, 9), decision(1, 0))) == DecidedUpTo(10)
    later = Log(decision(0, 9), decision(1, 0, topic_id="later"), decision(2, 1, topic_id="later"))
    assert await found_in(later) == DecidedUpTo(2, "later")
