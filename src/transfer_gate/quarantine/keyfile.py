"""The file of master keys: made for its owner alone, and replaced in one step."""

import base64
import os
import secrets
from pathlib import Path
from typing import Final

from transfer_gate.errors import InvalidInput, RefusedByGuard
from transfer_gate.records.sealing import KEY_BYTES, load_master_keys, master_key_id

_OWNER_ONLY: Final = 0o600
_HEAD: Final = """\
# Master keys of quarantine, the current one first. Who reads this file reads quarantined payloads.
# Losing it makes them unreadable for ever; keep a copy apart from the backups of the brokers.
"""


def new_key(file: Path, made: str) -> str:
    """Make a key file with one key, commented with `made`; returns the key's id.

    Raises RefusedByGuard when there is such a file, InvalidInput when it can't be written.
    """
    if file.exists():
        raise RefusedByGuard(
            f"{file} exists, and its keys open what is in quarantine",
            do="give --add to put a new key below the current one, or name another file",
        )
    _write(file, f"{_HEAD}{_line(made, secrets.token_bytes(KEY_BYTES))}")
    return load_master_keys(file).current


def add_key(file: Path, made: str) -> str:
    """Put a new key below the current one of a key file: it unwraps, and wraps nothing yet. Returns its id.

    Raises InvalidInput when the file is not a key file, or can't be written.
    """
    load_master_keys(file)
    lines = _lines_of(file)
    key = secrets.token_bytes(KEY_BYTES)
    lines.insert(min(_keys_in(lines).values()) + 1, _line(made, key))
    _write(file, "".join(lines))
    return master_key_id(key)


def promote_key(file: Path, name: str) -> None:
    """Make the key with the id `name` the current one of a key file: the first. What is in the file stays.

    Raises InvalidInput when the file is not a key file, lacks that key, or can't be written.
    """
    load_master_keys(file)
    lines = _lines_of(file)
    keys = _keys_in(lines)
    if name not in keys:
        raise InvalidInput(f"{file}: no key {name} in it", do="add one with: transfer-gate key new --add")
    lines.insert(min(keys.values()), lines.pop(keys[name]))
    _write(file, "".join(lines))


def _lines_of(file: Path) -> list[str]:
    return [f"{line}\n" for line in file.read_text(encoding="utf-8").splitlines()]


def _keys_in(lines: list[str]) -> dict[str, int]:
    """Ids of the keys in these lines of a key file, and on which line each stands first."""
    found: dict[str, int] = {}
    for number, line in enumerate(lines):
        text = line.partition("#")[0].strip()
        if text:
            found.setdefault(master_key_id(base64.b64decode(text)), number)
    return found


def _line(made: str, key: bytes) -> str:
    return f"{base64.b64encode(key).decode()}  # {made}\n"


def _write(file: Path, content: str) -> None:
    """Write beside the file and move over it: whoever reads it sees the old content or the new one, whole."""
    beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        opened = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        try:
            with os.fdopen(opened, "w", encoding="utf-8") as written:
                written.write(content)
                written.flush()
                os.fsync(written.fileno())
            beside.replace(file)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InvalidInput(
            f"{file}: can't be written: {error.strerror}", do="name a file in a folder that can be written"
        ) from None
