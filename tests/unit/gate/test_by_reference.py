"""Records that are quarantined by reference, and headers with any bytes for a name, on their way back."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from aiokafka.structs import ConsumerRecord, TopicPartition

from tests.support.events import Events
from tests.support.registry import write_registry
from transfer_gate.gate.inbox import Record
from transfer_gate.gate.round import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, Tables
from transfer_gate.kafka import catalogue, unpacking
from transfer_gate.kafka.sizes import Limits
from transfer_gate.kafka.unpacking import BoundedRecords, RawRecords
from transfer_gate.model.topics import Topics
from transfer_gate.records import headers as names
from transfer_gate.records.headers import Headers
from transfer_gate.records.quarantined import decode_quarantined
from transfer_gate.records.replay_requests import portable, restored
from transfer_gate.registry import load_registry

NOW: Final = dt.datetime.now(dt.UTC)
EVENTS: Final = Events(NOW)
MIB: Final = 1 << 20


def record(topic: str, key: bytes, value: bytes | None, headers: Headers = (), offset: int = 7) -> Record:
    return ConsumerRecord(topic, 0, offset, 0, 0, key, value, None, 0, 0, tuple(headers))


def written(work: Round) -> Mapping[str, list[Record]]:
    """What a round writes, by topic, as a consumer reads it."""
    work.close()
    read: dict[str, list[Record]] = {}
    for topic, built in work.batches.close().items():
        for builder, _ in built:
            place = TopicPartition(topic, 0)
            data = RawRecords(bytes(builder.build()))
            read.setdefault(topic, []).extend(BoundedRecords(place, data, [], 0, None, None, False, 0))
    return read


@pytest.fixture(name="book")
def _book(tmp_path: Path) -> Rulebook:
    return Rulebook.of(Topics(), load_registry(write_registry(tmp_path, NOW)))


def consented(book: Rulebook, tables: Tables, prospect: str) -> None:
    work = Round(book, tables, 0, NOW)
    work.fold([record(book.consents, prospect.encode(), EVENTS.consent(prospect, "c-1"), offset=0)])
    work.close()
    tables.consent.update(work.changes, 1)


def test_a_record_by_reference_that_is_replayed_is_refused_and_stays_open(book: Rulebook) -> None:
    tables = Tables(MemorySlice(), MemorySlice())
    work = Round(book, tables, 0, NOW)
    work.decide([record(book.transfers, b"p", b"x" * (3 * MIB))], 1)
    (held,) = written(work)[book.quarantine]
    assert held.value is None
    found = decode_quarantined(held.headers)
    assert found.reference is not None
    assert (found.reference.size, found.reason) == (3 * MIB, "too-large")

    again = Round(book, tables, 0, NOW)
    again.replay([record(book.replay, b"p", None, held.headers)], 1)
    assert book.quarantine not in written(again)
    (entry,) = again.ledger_changes.values()
    assert orjson.loads(entry or b"")["state"] == "open"
    assert again.replays["refused"] == 1


def test_headers_with_any_name_travel_back_to_the_gate_and_are_quarantined_as_they_were(book: Rulebook) -> None:
    odd = [("source-d\udce9p", b"x"), ("plain", None), ("h\u00e9", b"y")]
    assert restored(portable(odd)) == odd
    assert all(name.encode() for name, _ in portable(odd))
    tables = Tables(MemorySlice(), MemorySlice())
    work = Round(book, tables, 0, NOW)
    work.decide([record(book.transfers, b"p", b"no JSON", odd)], 1)
    (held,) = written(work)[book.quarantine]
    assert list(held.headers[:3]) == odd
    again = Round(book, tables, 0, NOW)
    again.replay([record(book.replay, b"p", held.value, portable(held.headers))], 1)
    (requarantined,) = written(again)[book.quarantine]
    assert list(requarantined.headers[:3]) == odd
    assert decode_quarantined(requarantined.headers).attempt == 2


def test_a_header_of_ours_can_not_be_smuggled_in_wrapped() -> None:
    wrapped = (names.RAW, orjson.dumps({"name": "dGctYXR0ZW1wdA==", "value": None}))  # tg-attempt
    assert restored([wrapped]) == [wrapped]


def test_a_partner_whose_topic_does_not_take_the_record_is_quarantined_too_large(tmp_path: Path) -> None:
    topics, registry = Topics(), load_registry(write_registry(tmp_path, NOW))
    acme = topics.partners(registry)["acme"]
    limits = Limits({acme: {"max.message.bytes": "300", "compression.type": "uncompressed"}})
    book = Rulebook.of(topics, registry, limits=limits)
    tables = Tables(MemorySlice(), MemorySlice())
    consented(book, tables, "p")
    work = Round(book, tables, 0, NOW)
    work.decide([record(book.transfers, b"p", EVENTS.transfer("p", "e-1"))], 1)
    outcome = written(work)
    assert acme not in outcome
    reasons = {name: value for name, value in outcome[book.quarantine][0].headers}["tg-reasons"]  # noqa: C416
    assert orjson.loads(reasons or b"") == {"email": ["too-large"], "sms": ["too-large"]}
    decision: dict[str, Any] = orjson.loads(outcome[book.decisions][0].value or b"")
    assert decision["released"] == []
    assert decision["quarantined"] == {"email": ["too-large"], "sms": ["too-large"]}


def test_a_record_that_quarantine_does_not_take_verbatim_goes_there_by_reference(tmp_path: Path) -> None:
    topics, registry = Topics(), load_registry(write_registry(tmp_path, NOW))
    limits = Limits({topics.quarantine: {"max.message.bytes": "4000", "compression.type": "uncompressed"}})
    book = Rulebook.of(topics, registry, limits=limits)
    work = Round(book, Tables(MemorySlice(), MemorySlice()), 0, NOW)
    work.decide([record(book.transfers, b"p", b"[" * 9000)], 1)
    (held,) = written(work)[book.quarantine]
    found = decode_quarantined(held.headers)
    assert held.value is None
    assert found.reason == "undecodable"
    assert found.reference is not None
    assert found.reference.size == 9000


def test_the_catalogue_and_the_unpacking_mean_the_same_record() -> None:
    assert catalogue.LARGEST_RECORD == unpacking.LARGEST_RECORD
    assert catalogue.LARGEST_RECORD + catalogue.HEAD_ROOM <= catalogue.LARGE_MESSAGE <= unpacking.RECORD_BYTES
