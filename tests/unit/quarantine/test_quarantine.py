"""Filters, cursors, times and key files of the quarantine commands, without a broker."""

import base64
import datetime as dt
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition

from tests.support.command_line import CommandLine
from transfer_gate.doctor import local_checks
from transfer_gate.errors import InvalidInput, RefusedByGuard
from transfer_gate.gate.members import published_by, published_in, with_published
from transfer_gate.quarantine.master_keys import RunningWorker, promote_key, require_key
from transfer_gate.quarantine.search import (
    Destinations,
    Filter,
    Place,
    View,
    _behind,
    filter_details,
)
from transfer_gate.quarantine.unreadable import looks_like, nameable
from transfer_gate.records import headers, ids
from transfer_gate.records.ledger import OPEN, SUPERSEDED, LedgerEntry, LedgerIndex, State, encode_entry, state_of
from transfer_gate.records.partitioner import UNGROWN
from transfer_gate.records.quarantined import Quarantined, decode_quarantined
from transfer_gate.records.sealing import MasterKeys, load_master_keys

NOW = dt.datetime(2026, 11, 24, 10, tzinfo=dt.UTC)


def quarantined(attempt: int = 1, partner: str | None = "acme") -> Quarantined:
    """Of a record quarantined by two rules on e-mail and one on SMS, or that could not be read."""
    reasons = {"email": ["electronic-optin", "use-window-open"], "sms": ["electronic-optin"]}
    written = headers.of_quarantine(
        (),
        quarantine_id=ids.quarantine_id("in", 0, 7, partner or ""),
        stage="policy" if partner else "decode",
        partner_id=partner,
        reasons=reasons if partner else {"*": ["undecodable"]},
        source=("in", 0, 7, 0),
        decision_id=None,
        revision="r",
        consent_offset=0,
        quarantined_at="2026-11-24T10:00:00Z",
        attempt=attempt,
    )
    return decode_quarantined(written)


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        ({}, True),
        ({"partner_id": "acme"}, True),
        ({"partner_id": "helios"}, False),
        ({"reason": "use-window-open"}, True),
        ({"reason": "not-withdrawn"}, False),
        ({"channel": "sms"}, True),
        ({"channel": "postal"}, False),
        ({"stage": "policy"}, True),
        ({"stage": "consent"}, False),
        ({"prospect_id": "p-1"}, True),
        ({"prospect_id": "p-2"}, False),
        ({"partner_id": "acme", "channel": "postal"}, False),
    ],
)
def test_a_filter_matches_what_meets_all_of_its_options(wanted: dict[str, Any], takes: bool) -> None:
    """Every option given restricts."""
    assert Filter(**wanted).takes(b"p-1", quarantined()) is takes


def test_audit_events_do_not_name_the_prospect_of_a_filter() -> None:
    """They hold that it names a prospect, and everything else."""
    details = filter_details(Filter(prospect_id="p-1", partner_id="acme", since=NOW, ids=frozenset({"b", "a"})))
    assert details == {"partner_id": "acme", "since": "2026-11-24T10:00:00Z", "prospect_id": "one", "ids": ["a", "b"]}
    assert filter_details(Filter(ids=frozenset(map(str, range(101)))))["ids"] == 101


@pytest.mark.parametrize(
    ("state", "entry_attempt", "attempt", "expected"),
    [
        ("open", 2, 2, OPEN),
        ("open", 2, 1, SUPERSEDED),
        ("replayed", 2, 1, "replayed"),
        ("discarded", 1, 1, "discarded"),
        (None, 0, 1, OPEN),
        (None, 0, 2, SUPERSEDED),
    ],
)
def test_an_index_of_the_ledger_gives_the_same_status_as_whole_entries(
    state: State | None, entry_attempt: int, attempt: int, expected: str
) -> None:
    """The compact ledger loses nothing that decides openness."""
    about = quarantined(attempt)
    entry = None if state is None else LedgerEntry(state=state, attempt=entry_attempt, at=NOW)
    index = LedgerIndex()
    if entry is not None:
        index.put(about.quarantine_id.encode(), encode_entry(entry))
    assert state_of(index.get(about.quarantine_id), attempt) == state_of(entry, attempt) == expected


def test_a_million_entries_of_the_ledger_take_less_than_200_mb() -> None:
    """Measured on a fifth of them, in a process of its own: the most memory that it ever held."""
    program = """
import resource, uuid
from transfer_gate.records.ledger import LedgerIndex
index, start = LedgerIndex(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for number in range(200_000):
    index.put(str(uuid.UUID(int=number << 64)).encode(), b'{"state":"open","attempt":300,"run":"plan-7"}')
assert len(index) == 200_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(run.stdout) * 5 < 200_000


def test_a_cursor_goes_on_behind_its_place_and_in_later_partitions() -> None:
    """What was passed is not read again, what is left is read whole."""
    within = {TopicPartition("q", number): (10, 20) for number in range(3)}
    left = _behind(within, Place(1, 14))
    assert left == {TopicPartition("q", 1): (15, 20), TopicPartition("q", 2): (10, 20)}
    assert View(left, {}, {}, Destinations(UNGROWN)).offsets == 15
    assert _behind(within, Place(1, 19)) == {TopicPartition("q", 2): (10, 20)}
    assert _behind(within, Place(1, 3))[TopicPartition("q", 1)] == (10, 20)
    assert _behind(within, None) == within
    assert str(Place(1, 14)) == "1:14"


@pytest.mark.parametrize(
    ("value", "types"),
    [
        (b'{"type": "withdrawal", "event', ("withdrawal",)),
        (b'{"type":"erasu', ("erasure",)),
        (b'{"type": "restriction', ("restriction", "restriction_lifted")),
        (b'{"type": "newsletter"}', ()),
        (b"\xff", ()),
    ],
)
def test_what_is_left_of_an_event_tells_what_it_may_have_been(value: bytes, types: tuple[str, ...]) -> None:
    """From the beginning of its type; where nothing is left it may have been anything."""
    assert looks_like(value) == types


@pytest.mark.parametrize(
    ("key", "able"),
    [(b"p-1", True), (None, False), (b"", False), (b"\xff", False), (b"p" * 129, False), (b"undefined", False)],
)
def test_only_a_key_that_can_be_a_prospect_can_be_resolved(key: bytes | None, able: bool) -> None:
    """No event, and so no transfer, can be about another."""
    assert nameable(key) is able


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """`transfer-gate key new`."""
    return CommandLine(monkeypatch, capsys, "key", "new")


def test_a_key_file_is_its_owners_alone_and_never_overwritten(run: CommandLine, tmp_path: Path) -> None:
    """The key is printed nowhere; another `new` is refused, `--add` puts a key below the current one."""
    file = tmp_path / "keys"
    code, out, err = run("--file", file)
    first = load_master_keys(file)
    assert (code, out.strip()) == (0, first.current)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text(encoding="utf-8")
    keys = [line.split()[0] for line in text.splitlines() if not line.startswith("#")]
    assert not any(key in out + err for key in keys)
    assert run("--file", file)[0] == 5
    assert file.read_text(encoding="utf-8") == text
    assert run("--file", file, "--add")[0] == 0
    both = load_master_keys(file)
    assert both.ids == (first.current, both.ids[1])
    assert file.read_text(encoding="utf-8").startswith(text)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_a_promoted_key_is_the_first_and_no_other_line_moves(tmp_path: Path) -> None:
    """Comments stay where they are, a last line without its end too; a key that is not there is refused."""
    file = tmp_path / "keys"
    a, b, c = (base64.b64encode(letter * 32).decode() for letter in (b"a", b"b", b"c"))
    file.write_text(f"# ours\n\n{a}  # first\n# older\n{b}\n{c}", encoding="utf-8")
    ids = load_master_keys(file).ids
    promote_key(file, ids[2])
    assert file.read_text(encoding="utf-8") == f"# ours\n\n{c}\n{a}  # first\n# older\n{b}\n"
    assert load_master_keys(file).ids == (ids[2], *ids[:2])
    with pytest.raises(InvalidInput, match="no key 00"):
        promote_key(file, "00")


def test_a_worker_that_lacks_a_key_or_publishes_none_is_named() -> None:
    """Of a member of an older version only its address is known."""
    older = b'{"assignment":{"actives":{},"standbys":{}},"url":"x","changelog_distribution":{}}'
    masters = MasterKeys([b"a" * 32, b"b" * 32])
    ours = published_in(with_published(older, published_by(masters)))
    assert ours is not None
    assert ours.master_keys == masters.ids
    assert [published_in(other) for other in (older, b"", b"\x00")] == [None] * 3
    assert json.loads(with_published(older, published_by(None))).items() > json.loads(older).items()
    has, lacks = RunningWorker(ours.worker, ours.master_keys), RunningWorker("gate-2/7", ())
    require_key([has], masters.ids[1])
    with pytest.raises(RefusedByGuard, match=r"1 of 2 running workers do not have the key \w+: gate-2/7\."):
        require_key([has, lacks], masters.ids[1])
    with pytest.raises(RefusedByGuard, match=r"(?s)1 of 2 .* older version"):
        require_key([has, RunningWorker("10.0.0.7 (faust-1)", None)], masters.ids[0])


def test_a_key_is_not_added_to_what_is_no_key_file(run: CommandLine, tmp_path: Path) -> None:
    """Nor written where nothing can be."""
    (tmp_path / "notes").write_text("milk\n", encoding="utf-8")
    assert run("--file", tmp_path / "notes", "--add")[0] == 2
    assert run("--file", tmp_path / "none", "--add")[0] == 2
    assert run("--file", tmp_path / "no" / "folder")[0] == 2
    assert (tmp_path / "notes").read_text(encoding="utf-8") == "milk\n"


def test_doctor_looks_at_the_key_file_and_never_shows_a_key(run: CommandLine, tmp_path: Path) -> None:
    """Unset and open to others: a warning; malformed: a worker would not start."""
    file = tmp_path / "keys"
    assert local_checks.quarantine_key(None).status == "warn"
    assert local_checks.quarantine_key(file).status == "FAIL"
    run("--file", file)
    assert local_checks.quarantine_key(file).status == "ok"
    file.chmod(0o640)
    assert local_checks.quarantine_key(file).status == "warn"
    file.write_text("bm90IGEga2V5\n", encoding="utf-8")
    found = local_checks.quarantine_key(file)
    assert found.status == "FAIL"
    assert "bm90IGEga2V5" not in found.found + found.do
