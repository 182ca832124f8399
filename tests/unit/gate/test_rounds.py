"""What a round does when the table can't be read: nothing, because no record is to blame."""

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
