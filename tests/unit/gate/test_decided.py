"""What the decision records show of a group that has no note any more."""

from collections.abc import AsyncGenerator, Mapping
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition

from transfer_gate.gate.inbox import Record
from transfer_gate.gate.integrity.decided import DecidedUpTo, last_decided

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
