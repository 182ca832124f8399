"""What quarantine has deleted is forgotten: ledger entries, and keys of nobody. What it may still hold never is."""

import asyncio
import datetime as dt
from pathlib import Path
from typing import Final

import pytest
from aiokafka.structs import ConsumerRecord
from msgspec.structs import replace

from tests.support.events import Events
from tests.support.registry import write_registry
from transfer_gate.gate.retention import Kept, Retention, Sweep
from transfer_gate.gate.round import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, Tables
from transfer_gate.model.state import EMPTY
from transfer_gate.model.topics import Topics
from transfer_gate.policy.fold import fold
from transfer_gate.records import headers as names
from transfer_gate.records import ids
from transfer_gate.records.consents import decode_consent
from transfer_gate.records.ledger import LedgerEntry, encode_entry
from transfer_gate.records.sealing import KEY_BYTES, MasterKeys, Sealing, owner_of_day
from transfer_gate.records.state import decode_state, encode_state
from transfer_gate.registry import load_registry

NOW: Final = dt.datetime(2026, 11, 24, 9, tzinfo=dt.UTC)
DAY_MS: Final = 86_400_000
#: Thirty days, in segments of seven.
KEPT: Final = Kept.of({"retention.ms": str(30 * DAY_MS), "segment.ms": str(7 * DAY_MS)})
SEALING: Final = Sealing(MasterKeys([b"1" * KEY_BYTES]))


class Place:
    """One partition without a broker: rounds over tables that know what rounds changed."""

    def __init__(self, folder: Path) -> None:
        self.book = Rulebook.of(Topics(), load_registry(write_registry(folder, NOW)))
        self.tables = Tables(MemorySlice(), MemorySlice())
        self.retention = KEPT
        self.sweeps = Sweep(Retention(KEPT, self._read), self.tables, self.book.registry.policy.recall_memory())

    async def _read(self) -> Kept:
        return self.retention

    def round(self, at: dt.datetime) -> Round:
        work = Round(self.book, self.tables, 0, at, SEALING)
        work.ignore_before(self.sweeps.forgotten_before(at))
        return work

    def take(self, work: Round) -> Round:
        work.close()
        self.tables.consent.update(work.changes, 1)
        self.tables.ledger.update(work.ledger_changes, 1)
        return work

    def unreadable(self, key: bytes | None, at: dt.datetime) -> None:
        work = self.round(at)
        work.decide([ConsumerRecord(self.book.transfers, 0, 0, 0, 0, key, b"junk", None, 3, 4, ())], 1)
        self.take(work)

    def sweep(self, at: dt.datetime) -> None:
        for expired in asyncio.run(self.sweeps.expired(at)):
            work = self.round(at)
            work.sweep(expired.owners, expired.quarantine_ids)
            self.take(work)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A partition of an installation."""
    return Place(tmp_path)


def days(count: int) -> dt.timedelta:
    return dt.timedelta(days=count)


def test_entries_go_when_their_records_are_deleted_for_certain_and_no_sooner(place: Place) -> None:
    entry = LedgerEntry(state="replayed", attempt=1, at=NOW)
    place.tables.ledger.update({b"old": encode_entry(entry), b"new": encode_entry(replace(entry, at=NOW + days(5)))}, 2)
    place.sweep(NOW + days(39))  # a segment of seven days may still hold it, and a day for clocks
    assert len(place.tables.ledger) == 2
    place.sweep(NOW + days(40))
    assert dict(place.tables.ledger.items()).keys() == {b"new"}


def test_what_was_forgotten_is_not_decided_again_when_the_replay_topic_is_read_again(place: Place) -> None:
    """No entry means open at attempt 1: it must not for a record whose entry may have been dropped."""
    headers = tuple(
        names.of_quarantine(
            (),
            quarantine_id=ids.quarantine_id(place.book.transfers, 0, 0, ""),
            stage="decode",
            partner_id=None,
            reasons={"*": ("undecodable",)},
            source=(place.book.transfers, 0, 0, 0),
            decision_id=None,
            revision="r",
            consent_offset=0,
            quarantined_at=NOW.isoformat(),
            first_quarantined_at=NOW.isoformat(),
            attempt=1,
            replay_run=None,
            encryption=None,
            reference=None,
            topic_id=None,
        )
    )
    record = ConsumerRecord(place.book.replay, 0, 0, 0, 0, b"p-1", b"junk", None, 3, 4, headers)
    in_time = place.round(NOW + days(39))
    in_time.replay([record], 1)
    assert in_time.replays == {"requarantined": 1}
    late = place.round(NOW + days(40))
    late.replay([record], 1)
    assert late.replays == {"ignored": 1}
    assert not late.batches.topics()


def test_keys_of_nobody_go_with_what_they_sealed(place: Place) -> None:
    for number in range(300):
        place.unreadable(b"nobody-%d" % number, NOW)
    place.unreadable(b"k" * 900_000, NOW)
    place.unreadable(b"nobody-7", NOW + days(20))
    assert len(dict(place.tables.consent.items())) == 301
    assert max(len(key) for key, _ in place.tables.consent.items()) < 600
    place.sweep(NOW + days(31))
    assert len(dict(place.tables.consent.items())) == 301
    place.sweep(NOW + days(32))
    assert dict(place.tables.consent.items()).keys() == {b"nobody-7"}  # used since
    place.sweep(NOW + days(60))
    assert not len(place.tables.consent)


def test_a_key_that_nobody_dated_is_dated_first(place: Place) -> None:
    place.unreadable(b"p-1", NOW)
    state = decode_state(place.tables.consent.get(b"p-1"))
    assert state.sealing_key is not None
    undated = encode_state(replace(state, sealing_key=replace(state.sealing_key, used=None)))
    place.tables.consent.update({b"p-1": undated}, 2)
    place.sweep(NOW + days(100))
    assert len(place.tables.consent) == 1
    place.sweep(NOW + days(132))
    assert not len(place.tables.consent)


def test_the_key_of_a_person_with_consent_stays(place: Place) -> None:
    known = fold(EMPTY, decode_consent(Events(NOW).consent("p-1", "c-1"), b"p-1"), 0, NOW)
    place.tables.consent.update({b"p-1": encode_state(known)}, 1)
    place.unreadable(b"p-1", NOW)
    place.sweep(NOW + days(1000))
    assert decode_state(place.tables.consent.get(b"p-1")).sealing_key is not None


def test_a_retention_that_was_raised_meanwhile_counts(place: Place) -> None:
    place.unreadable(None, NOW)
    place.retention = Kept.of({"retention.ms": str(90 * DAY_MS)})
    place.sweep(NOW + days(40))
    assert place.tables.consent.get(owner_of_day(NOW.date())) is not None
    place.sweep(NOW + days(92))
    assert place.tables.consent.get(owner_of_day(NOW.date())) is None


def test_nothing_is_forgotten_while_the_retention_can_not_be_read(place: Place) -> None:
    async def fails() -> Kept:
        raise ConnectionError

    place.unreadable(None, NOW)
    sweep = Sweep(Retention(KEPT, fails), place.tables, days(1095))
    assert asyncio.run(sweep.expired(NOW + days(40))) == []
    assert not sweep.due(lambda: NOW, idle=True)  # in a minute again


@pytest.mark.parametrize("config", [{}, {"retention.ms": "-1"}, {"retention.ms": str(2**63 - 1)}])
def test_without_a_limit_nothing_is_ever_forgotten(config: dict[str, str]) -> None:
    assert Kept.of(config) == Kept()
