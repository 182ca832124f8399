"""Keys and sealed payloads: what opens what, and what a key file may hold."""

import base64
import datetime as dt
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from transfer_gate.errors import InvalidInput
from transfer_gate.records.sealing import (
    KEY_BYTES,
    Encryption,
    Erased,
    MasterKeys,
    NotOpened,
    load_master_keys,
    open_sealed,
    owner_of,
    owner_of_day,
)

OLD: Final = b"1" * KEY_BYTES
NEW: Final = b"2" * KEY_BYTES
NAME: Final = "quarantine:transfers:0:7:acme"


@given(st.binary(max_size=2000))
def test_a_sealed_value_opens_to_itself_and_shows_nothing(value: bytes) -> None:
    masters = MasterKeys([OLD])
    kept, key = masters.new_key()
    sealed, header = key.seal(value, NAME)
    assert open_sealed(sealed, header, NAME, kept, masters) == value
    assert len(value) < 8 or value not in sealed


def test_equal_values_are_sealed_differently() -> None:
    _, key = MasterKeys([OLD]).new_key()
    assert key.seal(b"value", NAME)[0] != key.seal(b"value", NAME)[0]


@given(st.integers(0), st.integers(1, 255))
def test_one_changed_byte_anywhere_is_noticed(where: int, change: int) -> None:
    masters = MasterKeys([OLD])
    kept, key = masters.new_key()
    sealed, header = key.seal(b"a payload", NAME)
    altered = bytearray(sealed)
    altered[where % len(sealed)] ^= change
    with pytest.raises(NotOpened, match="altered"):
        open_sealed(bytes(altered), header, NAME, kept, masters)


@pytest.mark.parametrize("sealed", [b"", b"short", b"n" * 12])
def test_what_is_too_short_to_be_sealed_is_not_opened(sealed: bytes) -> None:
    masters = MasterKeys([OLD])
    kept, _ = masters.new_key()
    with pytest.raises(NotOpened):
        open_sealed(sealed, Encryption("A256GCM", kept.key_id), NAME, kept, masters)


def test_a_payload_moved_to_other_coordinates_is_not_opened() -> None:
    masters = MasterKeys([OLD])
    kept, key = masters.new_key()
    sealed, header = key.seal(b"value", NAME)
    with pytest.raises(NotOpened, match="another record"):
        open_sealed(sealed, header, "quarantine:transfers:0:8:acme", kept, masters)


def test_a_payload_whose_key_is_gone_is_erased_and_one_without_master_key_is_not() -> None:
    masters = MasterKeys([OLD])
    kept, key = masters.new_key()
    other, _ = masters.new_key()
    sealed, header = key.seal(b"value", NAME)
    for gone in (None, other):
        with pytest.raises(Erased):
            open_sealed(sealed, header, NAME, gone, masters)
    with pytest.raises(NotOpened, match="no master key is set"):
        open_sealed(sealed, header, NAME, kept, None)
    with pytest.raises(NotOpened, match="no master key"):
        open_sealed(sealed, header, NAME, kept, MasterKeys([NEW]))
    with pytest.raises(NotOpened, match="does not know"):
        open_sealed(sealed, Encryption("ROT13", header.key), NAME, kept, masters)


def test_a_rewrapped_key_opens_the_same_and_needs_only_the_new_master() -> None:
    kept, key = MasterKeys([OLD]).new_key()
    sealed, header = key.seal(b"value", NAME)
    both = MasterKeys([NEW, OLD])
    rewrapped = both.rewrap(kept)
    assert both.rewrap(rewrapped) is rewrapped
    assert (rewrapped.key_id, rewrapped.master_id) == (kept.key_id, both.current)
    assert open_sealed(sealed, header, NAME, rewrapped, MasterKeys([NEW])) == b"value"


def test_a_wrapped_key_under_another_id_is_not_unwrapped() -> None:
    masters = MasterKeys([OLD])
    kept, _ = masters.new_key()
    with pytest.raises(NotOpened, match="altered"):
        masters.unwrap(replace(kept, key_id="0" * 16))


def test_the_owner_of_a_record_is_its_prospect_or_its_day() -> None:
    at = "2026-11-24T09:00:00.000000Z"
    assert owner_of(b"p-1", "policy", "acme", at) == b"p-1"
    assert owner_of(b"p-1", "decode", None, at) == b"p-1"
    day = owner_of_day(dt.date(2026, 11, 24))
    assert owner_of(None, "decode", None, at) == day
    assert owner_of(b"p-1", "schema", "acme", at) == day
    with pytest.raises(UnicodeDecodeError):
        day.decode()


def line(key: bytes) -> str:
    return base64.b64encode(key).decode()


def test_a_key_file_has_a_key_a_line_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# since June\n{line(NEW)}  # current\n\n{line(OLD)}\n", encoding="utf-8")
    kept, _ = MasterKeys([OLD]).new_key()
    masters = load_master_keys(file)
    assert masters.current == MasterKeys([NEW]).current
    assert masters.unwrap(kept).key_id == kept.key_id


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "holds no key"),
        ("# only a comment\n", "holds no key"),
        (f"{line(OLD)}\nnot base64!\n", "line 2"),
        (line(b"short"), "line 1"),
        ("\xff", "line 1"),
    ],
)
def test_a_wrong_key_file_is_told_by_line_and_never_quoted(tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "keys"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInput, match=told) as caught:
        load_master_keys(file)
    assert "key new" in caught.value.do
    assert not content.strip() or content.strip() not in str(caught.value)


def test_a_key_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="FileNotFoundError"):
        load_master_keys(tmp_path / "none")
