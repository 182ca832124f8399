"""Whatever is replayed, repeated, discarded or erased in whatever order: each unit is released at most once, and is at
every moment in exactly one place. Judged on the records that rounds would write, encoded and read back.
"""

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson
import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.structs import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import Events
from tests.support.registry import PARTNERS, write_registry
from transfer_gate.gate.inbox import Record
from transfer_gate.gate.round import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, Tables
from transfer_gate.model.topics import Topics
from transfer_gate.records import headers as names
from transfer_gate.records.ledger import LedgerEntry, decode_entry, may_be_replayed
from transfer_gate.records.quarantined import Quarantined, decode_quarantined
from transfer_gate.records.sealing import KEY_BYTES, UNSEALED, MasterKeys, Sealing
from transfer_gate.registry import load_registry

NOW: Final = dt.datetime(2026, 11, 24, 9, tzinfo=dt.UTC)
SEALED: Final = Sealing(MasterKeys([b"1" * KEY_BYTES]))
PROSPECTS: Final = ("p-1", "p-2")

Unit = tuple[int, str, str]
"""Offset of the source, partner, channel."""

steps = st.one_of(
    st.tuples(st.just("transfer"), st.sampled_from(PROSPECTS), st.integers(1, 3)),
    st.tuples(st.just("broken"), st.sampled_from(PROSPECTS), st.just(0)),
    st.tuples(st.sampled_from(["consent", "withdrawal", "erasure"]), st.sampled_from(PROSPECTS), st.just(0)),
    st.tuples(st.sampled_from(["replay", "replay", "replay", "discard"]), st.just(""), st.integers(0, 30)),
)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Rulebook:
    folder: Path = tmp_path_factory.mktemp("registry")
    return Rulebook.of(Topics(), load_registry(write_registry(folder, NOW)))


@dataclass
class Gate:
    """A partition without a broker: rounds over two tables, and everything that they wrote."""

    book: Rulebook
    sealing: Sealing
    tables: Tables = field(default_factory=lambda: Tables(MemorySlice(), MemorySlice()))
    offset: int = 0
    asked: set[Unit] = field(default_factory=set)
    released: Counter[Unit] = field(default_factory=Counter)
    held: list[tuple[Record, Quarantined]] = field(default_factory=list)
    events: Events = field(default_factory=lambda: Events(NOW))

    def step(self, kind: str, prospect: str, number: int) -> None:
        """One round with one input record."""
        self.offset += 1
        key = prospect.encode()
        work = Round(self.book, self.tables, 0, NOW, self.sealing)
        if kind == "transfer":
            partners = PARTNERS[:number]
            value = self.events.transfer(prospect, f"t-{self.offset}", partners)
            self.asked |= {(self.offset, partner, channel) for partner in partners for channel in ("email", "sms")}
            work.decide([self.record(self.book.transfers, key, value)], 1)
        elif kind == "broken":
            self.asked.add((self.offset, "", "*"))
            work.decide([self.record(self.book.transfers, key, b"broken")], 1)
        elif kind == "consent":
            work.fold([self.record(self.book.consents, key, self.events.consent(prospect, f"c-{self.offset}"))])
        elif kind in ("withdrawal", "erasure"):
            value = self.events.against(kind, prospect, f"a-{self.offset}")  # type: ignore[arg-type]
            work.fold([self.record(self.book.consents, key, value)])
        elif self.held:
            record, _ = self.held[number % len(self.held)]
            action = [(names.REPLAY_ACTION, kind.encode())]
            work.replay([self.record(self.book.replay, record.key, record.value, [*record.headers, *action])], 1)
        work.close()
        self.take(work)

    def record(
        self, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]] | None = None
    ) -> Record:
        return ConsumerRecord(topic, 0, self.offset, 0, 0, key, value, None, 0, 0, tuple(headers or ()))

    def take(self, work: Round) -> None:
        """Commit: the tables take the changes over, and what was written can be read."""
        self.tables.consent.update(work.changes, 1)
        self.tables.ledger.update(work.ledger_changes, 1)
        decided: dict[str, int] = {}
        sent: list[dict[str, object]] = []
        for topic, built in work.batches.close().items():
            for builder, _ in built:
                for read in DefaultRecordBatch(bytes(builder.build())):
                    if topic == self.book.quarantine:
                        record = ConsumerRecord(topic, 0, 0, 0, 0, read.key, read.value, None, 0, 0, read.headers)
                        self.held.append((record, decode_quarantined(read.headers)))
                    elif topic == self.book.decisions:
                        decision = orjson.loads(read.value)
                        decided[decision["decision_id"]] = decision["source"]["offset"]
                    elif topic in self.book.partner_topics.values():
                        sent.append(orjson.loads(read.value))
        for body in sent:
            for channel in body["channels"]:  # type: ignore[attr-defined]
                self.released[decided[str(body["decision_id"])], str(body["partner_id"]), channel] += 1

    def entry(self, held: Quarantined) -> LedgerEntry | None:
        raw = self.tables.ledger.get(held.quarantine_id.encode())
        return decode_entry(raw) if raw is not None else None

    def places(self) -> Counter[Unit]:
        """In how many places each unit is now: released, open, or discarded."""
        places = Counter(self.released)
        for _, held in self.held:
            entry = self.entry(held)
            here = may_be_replayed(entry, held.attempt)
            gone = entry is not None and entry.state == "discarded" and entry.attempt == held.attempt
            if here or gone:
                for channel in held.channels or ("*",):
                    places[held.source.offset, held.partner_id or "", channel] += 1
        return places


@pytest.mark.parametrize("sealing", [UNSEALED, SEALED], ids=["plain", "sealed"])
@given(what=st.lists(steps, max_size=25))
@settings(deadline=None)
def test_every_unit_is_in_exactly_one_place_and_released_at_most_once(
    book: Rulebook, sealing: Sealing, what: list[tuple[str, str, int]]
) -> None:
    gate = Gate(book, sealing)
    for step in what:
        gate.step(*step)
    assert gate.places() == dict.fromkeys(gate.asked, 1)


@given(what=st.lists(steps, max_size=25))
@settings(deadline=None)
def test_sealing_changes_no_outcome_as_long_as_nobody_is_erased(
    book: Rulebook, what: list[tuple[str, str, int]]
) -> None:
    plain, sealed = Gate(book, UNSEALED), Gate(book, SEALED)
    for step in what:
        if step[0] != "erasure":
            plain.step(*step)
            sealed.step(*step)
    assert plain.released == sealed.released
    assert [held for _, held in plain.held] == [
        Quarantined(**{name: getattr(held, name) for name in Quarantined.__struct_fields__} | {"encryption": None})
        for _, held in sealed.held
    ]


def test_the_steps_above_reach_every_outcome(book: Rulebook) -> None:
    """Else the properties would hold for want of trying."""
    gate = Gate(book, SEALED)
    for step in (
        ("transfer", "p-1", 2),
        ("consent", "p-1", 0),
        ("replay", "", 0),
        ("replay", "", 0),
        ("discard", "", 1),
        ("transfer", "p-2", 1),
        ("broken", "p-2", 0),
        ("replay", "", 3),
        ("erasure", "p-2", 0),
        ("replay", "", 2),
    ):
        gate.step(*step)
    entries = [gate.entry(held) for _, held in gate.held]
    told = [(entry.state, entry.attempt, entry.why) if entry else None for entry in entries]
    assert told == [
        ("replayed", 2, None),
        ("discarded", 1, None),
        ("discarded", 1, "erased"),
        ("open", 2, None),
        ("open", 2, None),
    ]
    assert sum(gate.released.values()) == 2
