"""A plan survives its file and its parts on the audit topic; the ledger gives its records the right status."""

import datetime as dt
import tracemalloc
from array import array
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import msgspec
import pytest

from transfer_gate.errors import InvalidInput
from transfer_gate.records.ledger import ERASED, LedgerEntry, encode_entry
from transfer_gate.replay.plan import (
    Item,
    Items,
    Plan,
    Result,
    checked_id,
    digest_of,
    fingerprint_of,
    load_plan,
    save_plan,
)
from transfer_gate.replay.progress import Journal

NOW = dt.datetime(2026, 11, 24, 10, tzinfo=dt.UTC)
PLAN_ID = "0f8b7f3e-5f7e-4a55-9b0e-3f1f7a1f2b11"


def id_of(number: int) -> str:
    return str(UUID(int=number))


def plan(items: int, attempt: int = 1) -> Plan:
    return Plan(
        plan_id=PLAN_ID,
        by="odile",
        at=NOW,
        ticket="T-1",
        filter={"reason": "electronic-optin"},
        topic="transfers-quarantine",
        ends={"0": 100},
        revision="r1",
        forecasts=(Result("released", ("email",)),),
        moves=(),
        not_replayable=0,
        items=tuple(Item(0, number, id_of(number), attempt, "aa" * 16, 0) for number in range(items)),
    )


def counts_after(journal: Journal, number: int, **entry: Any) -> dict[str, int]:
    """Counts after one more entry of the ledger."""
    given: dict[str, Any] = {"at": NOW, "run": PLAN_ID} | entry
    written = LedgerEntry(**given)
    record: Any = SimpleNamespace(key=id_of(number).encode(), value=encode_entry(written))
    journal.take(record)
    return journal.counts()


def test_the_digest_is_that_of_the_file_and_changes_with_anything_in_it(tmp_path: Path) -> None:
    made, file = plan(3), tmp_path / "plans" / "p.json"
    save_plan(file, made, digest_of(made))
    assert load_plan(file) == made
    assert digest_of(load_plan(file) or plan(0)) == digest_of(made)
    others = [plan(2), plan(3, attempt=2), msgspec.structs.replace(made, by="pascal")]
    assert len({digest_of(each) for each in (made, *others)}) == 4
    assert load_plan(tmp_path / "none.json") is None
    file.write_bytes(b"{}")
    with pytest.raises(InvalidInput, match="can't be read as a plan"):
        load_plan(file)


def test_a_plan_in_columns_has_the_digest_of_its_canonical_json_however_long_it_is(tmp_path: Path) -> None:
    made = plan(9001)
    assert digest_of(made) == sha256(msgspec.json.encode(made)).hexdigest()
    columns = msgspec.structs.replace(made, items=Items(made.items))
    assert digest_of(columns) == digest_of(made)
    assert columns.outcomes() == made.outcomes()
    save_plan(tmp_path / "p.json", columns, digest_of(columns))
    read = load_plan(tmp_path / "p.json")
    assert read is not None
    assert isinstance(read.items, Items)
    assert (read.items, read.items[-1], read.items[4:6]) == (made.items, made.items[-1], made.items[4:6])


def test_a_plan_of_many_records_is_made_saved_and_read_in_little_memory(tmp_path: Path) -> None:
    """A million took more than 500 MiB as objects; 20,000 of these are 2 % of that."""
    count, head = 20_000, plan(0)
    tracemalloc.start()
    try:
        items = Items(Item(number % 6, number, id_of(number), 1, "ab" * 16, 0) for number in range(count))
        made = msgspec.structs.replace(head, items=items.forecast_as(range(count), array("i", [0]) * count))
        save_plan(tmp_path / "p.json", made, digest_of(made))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 250 * count
    assert load_plan(tmp_path / "p.json") == made


@pytest.mark.parametrize(
    ("quarantine_id", "fingerprint"),
    [("id-1", "ab" * 16), (PLAN_ID.upper(), "ab" * 16), (PLAN_ID, "ab"), (PLAN_ID, "")],
)
def test_a_malformed_item_is_refused(quarantine_id: str, fingerprint: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Items([Item(0, 1, quarantine_id, 1, fingerprint, 0)])


@pytest.mark.parametrize("given", ["", "../../etc/passwd", PLAN_ID.upper(), PLAN_ID + "/.."])
def test_what_is_not_a_plan_id_never_becomes_a_path(given: str) -> None:
    with pytest.raises(InvalidInput, match="not a plan id"):
        checked_id(given)


def test_the_fingerprint_differs_by_key_value_and_headers() -> None:
    records: list[Any] = [
        SimpleNamespace(key=key, value=value, headers=headers)
        for key, value, headers in (
            (b"ab", b"c", ()),
            (b"a", b"bc", ()),
            (None, b"abc", ()),
            (b"ab", None, (("c", None),)),
            (b"ab", b"c", (("x", b"y"),)),
            (b"ab", b"c", (("xy", b""),)),
            (b"ab", b"c", (("x\udcff", b"y"),)),  # bytes that are not UTF-8 (PEP 383)
            (b"ab", b"c", (("x\udcfe", b"y"),)),
        )
    ]
    assert len({fingerprint_of(record) for record in records}) == len(records)


@pytest.mark.parametrize(
    ("entry", "status"),
    [
        ({"state": "replayed", "attempt": 2, "released": ("email",)}, "released"),
        ({"state": "open", "attempt": 2, "quarantined": {"email": ("not-withdrawn",)}}, "held"),
        ({"state": "open", "attempt": 2, "released": ("email",), "quarantined": {"sms": ("not-objected",)}}, "partly"),
        ({"state": "replayed", "attempt": 2, "split": ("x",)}, "split"),
        ({"state": "discarded", "attempt": 1, "why": "never"}, "discarded"),
        ({"state": "discarded", "attempt": 1, "why": ERASED}, "erased"),
        ({"state": "open", "attempt": 1, "why": "no master key"}, "refused"),
        ({"state": "open", "attempt": 1, "why": "no master key", "run": "another"}, "open"),
        ({"state": "replayed", "attempt": 2, "released": ("email",), "run": "another"}, "elsewhere"),
        ({"state": "discarded", "attempt": 1, "why": "by hand", "run": None}, "elsewhere"),
        ({"state": "replayed", "attempt": 3, "released": ("email",)}, "elsewhere"),
    ],
)
def test_the_ledger_gives_an_item_its_status(entry: dict[str, Any], status: str) -> None:
    assert counts_after(Journal(plan(1)), 0, **entry) == {status: 1}


def test_an_item_of_a_later_attempt_is_open_until_that_attempt_is_decided() -> None:
    journal = Journal(plan(1, attempt=2))
    assert counts_after(journal, 0, state="open", attempt=2, released=("email",), run="earlier") == {"open": 1}
    assert counts_after(journal, 0, state="replayed", attempt=3, released=("sms",)) == {"released": 1}


def test_items_are_in_flight_until_they_are_settled() -> None:
    """Settled by another plan, seen twice or sent twice: each counts once."""
    journal = Journal(plan(3))
    for number in (0, 1, 1):
        journal.sent(number)
    assert journal.in_flight == 2
    for _ in range(2):
        counts_after(journal, 0, state="replayed", attempt=2, released=("email",))
    counts_after(journal, 1, state="discarded", attempt=1, run="another")
    journal.sent(1)
    assert (journal.in_flight, journal.settled, journal.open_items()) == (0, 2, [2])
    assert journal.fresh == {"released": 1, "elsewhere": 1}


def test_only_an_outcome_other_than_the_forecast_is_a_difference() -> None:
    journal = Journal(plan(3))
    counts_after(journal, 0, state="replayed", attempt=2, released=("email",))
    counts_after(journal, 1, state="replayed", attempt=2, released=("sms",))
    counts_after(journal, 2, state="open", attempt=2, quarantined={"email": ("not-withdrawn", "not-objected")})
    assert [(each.forecast, each.outcome, each.ids) for each in journal.differences()] == [
        ("released (email)", "released (sms)", [id_of(1)]),
        ("released (email)", "held: not-withdrawn, not-objected", [id_of(2)]),
    ]
