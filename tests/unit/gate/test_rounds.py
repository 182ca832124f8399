"""What a round does when the table can't be read: nothing, because no record is to blame; where it ends; and that every
record on the topic of strays has a name that a state can hold, whoever wrote it."""

import datetime as dt
from pathlib import Path
from typing import Final

import pytest
from aiokafka.structs import ConsumerRecord

from tests.support.events import Events
from tests.support.registry import write_registry
from transfer_gate.errors import GateError
from transfer_gate.gate import round as rounds
from transfer_gate.gate.round import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, Tables
from transfer_gate.model.topics import Topics
from transfer_gate.records.partitioner import stray_offset
from transfer_gate.records.state import decode_state
from transfer_gate.registry import load_registry

NOW: Final = dt.datetime(2026, 11, 24, 9, tzinfo=dt.UTC)


class Unreadable(MemorySlice):
    """A table on a broken disk."""

    def get(self, key: bytes) -> bytes | None:  # noqa: ARG002 - the shape of a slice
        raise GateError("the disk can't be read")


def test_a_table_that_can_not_be_read_stops_the_round_and_quarantines_nobody(tmp_path: Path) -> None:
    book = Rulebook.of(Topics(), load_registry(write_registry(tmp_path, NOW)))
    work = Round(book, Tables(Unreadable(), MemorySlice()), 0, NOW)
    value = Events(NOW).transfer("p-1", "t-1")
    record = ConsumerRecord(book.transfers, 0, 0, 0, 0, b"p-1", value, None, 0, 0, ())
    with pytest.raises(GateError, match="disk"):
        work.decide([record], 1)
    assert not work.batches.topics()


@pytest.mark.interpreted
@pytest.mark.parametrize(
    ("bound", "value", "decided"), [("OUTPUT_BYTES", 1, 1), ("DECIDE_SECONDS", 0.0, 1), ("", 0, 3)]
)
def test_a_round_ends_where_its_outputs_or_its_time_end_but_decides_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: float, decided: int
) -> None:
    if bound:
        monkeypatch.setattr(rounds, bound, value)
    else:
        monkeypatch.setattr(rounds, "DECIDE_SECONDS", 60.0)
    book = Rulebook.of(Topics(), load_registry(write_registry(tmp_path, NOW)))
    work = Round(book, Tables(MemorySlice(), MemorySlice()), 0, NOW)
    body = Events(NOW).transfer("p-1", "t-1")
    records = [
        ConsumerRecord(book.transfers, 0, offset, 0, 0, b"p-1", body, None, 3, len(body), ()) for offset in range(3)
    ]
    assert work.decide(records, 1) == decided
    alone = Round(book, Tables(MemorySlice(), MemorySlice()), 0, NOW)
    alone.decide(records[:1], 1)
    assert work.batches.records == alone.batches.records * decided


#: Partition, offset, timestamp and life as headers say them, which no gate wrote.
FORGED: Final = [
    (b"0", b"-1", b"1", b"0"),
    (b"-1", b"0", b"1", b"0"),
    (b"99999999999", b"0", b"1", b"0"),
    (b"1", b"9" * 30, b"1", b"0"),
    (b"1", b"1", b"1", b"-7"),
    (b"1", b"9" * 5000, b"1", b"0"),
    (b"", b"1", b"1", b"0"),
]


@pytest.mark.parametrize(("partition", "offset", "timestamp", "life"), FORGED)
@pytest.mark.parametrize("readable", [True, False])
def test_a_stray_whose_headers_name_no_place_blocks_or_counts_and_can_be_kept(
    tmp_path: Path, partition: bytes, offset: bytes, timestamp: bytes, life: bytes, readable: bool
) -> None:
    book = Rulebook.of(Topics(), load_registry(write_registry(tmp_path, NOW)))
    work = Round(book, Tables(MemorySlice(), MemorySlice()), 0, NOW)
    headers = (
        ("tg-source-partition", partition),
        ("tg-source-offset", offset),
        ("tg-source-timestamp-ms", timestamp),
        ("tg-source-life", life),
    )
    value = Events(NOW).against("objection", "p-1", "o-1") if readable else b"{"
    sent = int(NOW.timestamp() * 1000)
    record = ConsumerRecord(book.strays, 0, 5, sent, 0, b"p-1", value, None, 0, 0, headers)
    work.fold_strays([record])
    work.close()
    state = decode_state(work.changes[b"p-1"])
    assert state.objections if readable else state.unreadable


@pytest.mark.parametrize(
    ("headers", "place"),
    [
        ({"tg-source-partition": b"2", "tg-source-offset": b"7"}, ("consent-events", 2, 7)),
        ({"tg-source-partition": b"2", "tg-source-offset": b"7", "tg-source-life": b"3"}, ("consent-events", 2, 7)),
        ({"tg-source-offset": b"7"}, ("transfer-gate-strays", 0, 5)),
    ],
)
def test_a_log_line_about_a_stray_names_the_place_where_it_stood(
    tmp_path: Path, headers: dict[str, bytes], place: tuple[str, int, int], caplog: pytest.LogCaptureFixture
) -> None:
    book = Rulebook.of(Topics(), load_registry(write_registry(tmp_path, NOW)))
    work = Round(book, Tables(MemorySlice(), MemorySlice()), 0, NOW)
    sent = tuple({"tg-source-timestamp-ms": b"1795510800000", **headers}.items())
    record = ConsumerRecord(book.strays, 0, 5, int(NOW.timestamp() * 1000), 0, b"p-1", b"{", None, 0, 0, sent)
    work.fold_strays([record])
    (line,) = [line for line in caplog.records if "can't be read" in line.message]
    assert (line.__dict__["topic"], line.__dict__["partition"], line.__dict__["offset"]) == place


@pytest.mark.parametrize(("partition", "offset", "life"), [(-1, 0, 0), (1 << 14, 0, 0), (0, -1, 0), (0, 1 << 40, 0)])
def test_a_place_that_no_event_has_has_no_name(partition: int, offset: int, life: int) -> None:
    with pytest.raises(ValueError, match="no event stands there"):
        stray_offset(partition, offset, life)
