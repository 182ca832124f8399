"""What every store of the consent table does, in memory and on disk: one contract, held by both."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from transfer_gate.errors import GateError, InvalidInput
from transfer_gate.gate.rocksdb import RocksFolder, RocksSlice
from transfer_gate.gate.table import MemorySlice, Slice

OpenSlice = Callable[[], Slice]

#: Writes updates of two keys each until it is killed; says when the first is done.
ENDLESS: Final = """
import itertools, sys
from pathlib import Path
from transfer_gate.gate.rocksdb import RocksSlice
table = RocksSlice(Path(sys.argv[1]))
for number in itertools.count(1):
    table.update({b"one": b"%d" % number, b"other": b"%d" % number}, number)
    if number == 500:
        print("going", flush=True)
"""


@pytest.fixture(params=["memory", "rocksdb"])
def open_slice(request: pytest.FixtureRequest, tmp_path: Path) -> OpenSlice:
    """Opens a store of the kind under test, always the same one."""
    return MemorySlice if request.param == "memory" else lambda: RocksSlice(tmp_path / "state" / "0")


@pytest.fixture
def table(open_slice: OpenSlice) -> Slice:
    return open_slice()


def contents(table: Slice) -> dict[bytes, bytes]:
    return dict(table.items())


def test_a_new_slice_is_empty_and_stands_at_the_beginning(table: Slice) -> None:
    assert (table.position, table.life, len(table), contents(table)) == (0, "", 0, {})
    assert table.get(b"p-1") is None


def test_an_update_puts_replaces_and_removes_and_moves_the_position(table: Slice) -> None:
    table.update({b"p-1": b"old", b"p-2": b"other"}, 5)
    table.update({b"p-1": b"new", b"p-2": None, b"p-3": b"", b"never-there": None}, 9)
    assert contents(table) == {b"p-1": b"new", b"p-3": b""}
    assert [table.get(key) for key in (b"p-1", b"p-2", b"p-3")] == [b"new", None, b""]
    assert table.position == 9


def test_an_update_without_changes_moves_the_position(table: Slice) -> None:
    table.update({b"p-1": b"state"}, 5)
    table.update({}, 6)
    assert (table.position, contents(table)) == (6, {b"p-1": b"state"})


@pytest.mark.parametrize("key", [b"", b"\x00", b"\x00position", b"\x01", b"position", b"\xff" * 200, "é".encode()])
def test_any_key_is_a_prospect_and_none_is_the_position(table: Slice, key: bytes) -> None:
    table.update({key: b"state"}, 3)
    assert (table.get(key), table.position, contents(table)) == (b"state", 3, {key: b"state"})
    table.update({key: None}, 4)
    assert (table.get(key), table.position, contents(table)) == (None, 4, {})


def test_states_are_bytes_of_any_size(table: Slice) -> None:
    large = bytes(range(256)) * 4096
    table.update({b"p-1": large}, 1)
    assert table.get(b"p-1") == large


def test_it_counts_its_prospects(table: Slice) -> None:
    table.update({b"p-%d" % number: b"state" for number in range(1000)}, 1000)
    assert len(table) == 1000
    assert len(contents(table)) == 1000


def test_another_life_forgets_everything_and_goes_on(table: Slice) -> None:
    table.life = "first"
    table.update({b"p-1": b"state"}, 5)
    table.clear()
    assert (table.position, table.life, len(table), contents(table)) == (0, "", 0, {})
    table.life = "second"
    table.update({b"p-2": b"state"}, 2)
    assert (table.position, table.life, len(table), contents(table)) == (2, "second", 1, {b"p-2": b"state"})


def test_only_what_is_on_disk_outlives_the_worker(open_slice: OpenSlice) -> None:
    before = open_slice()
    before.life = "first"
    before.update({b"p-1": b"state", b"p-2": b"other"}, 7)
    before.update({b"p-2": None}, 8)
    before.close()
    after = open_slice()
    kept = isinstance(after, RocksSlice)
    assert (after.life, after.position, contents(after)) == (("first", 8, {b"p-1": b"state"}) if kept else ("", 0, {}))


def test_what_was_forgotten_stays_away(open_slice: OpenSlice) -> None:
    before = open_slice()
    before.update({b"p-1": b"state"}, 7)
    before.clear()
    before.close()
    after = open_slice()
    assert (after.position, contents(after)) == (0, {})


def test_a_worker_that_is_killed_leaves_states_and_position_of_one_and_the_same_moment(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "0"
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", ENDLESS, str(folder)], stdout=subprocess.PIPE)
        with writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"going\n"
            writer.kill()
        table = RocksSlice(folder)
        assert table.position >= 500
        assert contents(table) == dict.fromkeys((b"one", b"other"), b"%d" % table.position)
        table.close()


def test_a_copy_of_the_folder_is_the_table_as_it_was(tmp_path: Path) -> None:
    table = RocksSlice(tmp_path / "state")
    table.update({b"p-1": b"then"}, 4)
    table.close()
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    table = RocksSlice(tmp_path / "state")
    table.update({b"p-1": b"now"}, 9)
    copy = RocksSlice(tmp_path / "copy")
    assert (copy.position, copy.get(b"p-1")) == (4, b"then")


def test_a_folder_belongs_to_one_worker_at_a_time(tmp_path: Path) -> None:
    first = RocksFolder(tmp_path / "state")
    with pytest.raises(InvalidInput, match="another worker keeps its state") as caught:
        RocksFolder(tmp_path / "state")
    assert "its own TRANSFER_GATE_DATA_DIR" in caught.value.do
    del first  # as at the end of its process
    RocksFolder(tmp_path / "state")


def test_every_partition_has_a_slice_of_its_own(tmp_path: Path) -> None:
    folder = RocksFolder(tmp_path / "state")
    tables = [folder.open("changelog", number) for number in range(3)]
    for number, table in enumerate(tables):
        table.update({b"p-1": b"%d" % number}, number)
        table.close()
    assert [folder.open("changelog", number).get(b"p-1") for number in range(3)] == [b"0", b"1", b"2"]
    assert folder.open("ledger", 0).get(b"p-1") is None


def test_a_slice_that_is_open_is_not_opened_again(tmp_path: Path) -> None:
    first = RocksSlice(tmp_path / "state")
    with pytest.raises(GateError, match="can't be opened"):
        RocksSlice(tmp_path / "state")
    first.close()
    RocksSlice(tmp_path / "state").close()


def test_a_folder_that_is_no_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(GateError, match="can't be opened") as caught:
        RocksSlice(tmp_path / "state" / "0")
    assert "may be deleted: it is rebuilt from the changelog" in caught.value.do
    with pytest.raises(GateError, match="can't be used") as caught:
        RocksFolder(tmp_path / "state" / "folder")
    assert "check TRANSFER_GATE_DATA_DIR" in caught.value.do


def test_a_damaged_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    table = RocksSlice(tmp_path / "state")
    table.update({b"p-1": b"state"}, 1)
    table.close()
    (tmp_path / "state" / "CURRENT").write_text("nothing that exists\n")
    with pytest.raises(GateError, match="can't be opened"):
        RocksSlice(tmp_path / "state")
