"""Payloads in quarantine, encrypted: a random key for each prospect, wrapped by a master key that lives in a file.

AES-256-GCM throughout (NIST SP 800-38D), by the library `cryptography`. What is encrypted is bound to the coordinates
of its source as associated data, so that it can't be moved to another record unnoticed. Destroying a prospect's key
makes what it sealed unreadable (docs/explanation/erasure.md says from when, and within which limits).
"""

import base64
import binascii
import datetime as dt
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from transfer_gate.errors import InvalidInput
from transfer_gate.model.state import SealingKey

ALGORITHM: Final = "A256GCM"
KEY_BYTES: Final = 32
#: GCM's own nonce length; random nonces of this length are safe for 2^32 messages under one key.
_NONCE_BYTES: Final = 12
#: How the owner of a key of a day begins.
DAY: Final = b"\xffday-"
#: No `prospect_id` is longer: 128 characters of four bytes.
LONGEST_KEY: Final = 512


class SealError(Exception):
    """A sealed payload can't be opened; the text says why, without the payload."""


class Erased(SealError):
    """Its key was destroyed: the payload can't be read any more."""


class NotOpened(SealError):
    """The key may still exist, but the payload can't be opened here: no master key for it, or it was altered."""


class Encryption(Struct, frozen=True, gc=False):
    """The header `tg-encryption`: algorithm, and the id of the key that sealed the value."""

    alg: str
    key: str


def encode_encryption(encryption: Encryption) -> bytes:
    """The value of the header `tg-encryption`."""
    return msgspec.json.encode(encryption)


class OpenedKey(Struct, frozen=True, gc=False):
    """The key of a prospect or of a day, unwrapped; seals and opens payloads."""

    key_id: str
    cipher: AESGCM

    def seal(self, value: bytes, name: str) -> tuple[bytes, Encryption]:
        """`value` encrypted, and its header; `name` is the record's `ids.quarantine_name`."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self.cipher.encrypt(nonce, value, name.encode()), Encryption(ALGORITHM, self.key_id)

    def open(self, sealed: bytes, name: str) -> bytes:
        """What `seal` was given. Raises NotOpened when the value or its coordinates were altered."""
        try:
            return self.cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError):
            raise NotOpened("the sealed payload was altered, or belongs to another record") from None


class MasterKeys:
    """The master keys of an installation: the first wraps, each of them unwraps."""

    def __init__(self, keys: list[bytes]) -> None:
        self._ciphers: Mapping[str, AESGCM] = {master_key_id(key): AESGCM(key) for key in keys}
        #: Id of the key that wraps from now on.
        self.current = master_key_id(keys[0])

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all master keys, the current one first. An id says nothing about its key."""
        return tuple(self._ciphers)

    def new_key(self) -> tuple[SealingKey, OpenedKey]:
        """A fresh random key: wrapped, to be kept with the state of its prospect; and opened, for use now."""
        key, key_id = AESGCM.generate_key(KEY_BYTES * 8), os.urandom(8).hex()
        return self._wrap(key, key_id), OpenedKey(key_id, AESGCM(key))

    def unwrap(self, wrapped: SealingKey) -> OpenedKey:
        """The key for use. Raises NotOpened when its master key is not in the key file, or it was altered."""
        return OpenedKey(wrapped.key_id, AESGCM(self._unwrapped(wrapped)))

    def rewrap(self, wrapped: SealingKey) -> SealingKey:
        """The same key under the current master key; the very same object when it is already. Raises NotOpened."""
        if wrapped.master_id == self.current:
            return wrapped
        return self._wrap(self._unwrapped(wrapped), wrapped.key_id)

    def _wrap(self, key: bytes, key_id: str) -> SealingKey:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._ciphers[self.current].encrypt(nonce, key, key_id.encode())
        return SealingKey(key_id=key_id, master_id=self.current, wrapped=base64.b64encode(sealed).decode())

    def _unwrapped(self, wrapped: SealingKey) -> bytes:
        cipher = self._ciphers.get(wrapped.master_id)
        if cipher is None:
            raise NotOpened(f"no master key {wrapped.master_id} in the key file")
        try:
            sealed = base64.b64decode(wrapped.wrapped, validate=True)
            return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], wrapped.key_id.encode())
        except (InvalidTag, ValueError):
            raise NotOpened(f"the wrapped key {wrapped.key_id} was altered") from None


def open_sealed(
    value: bytes, encryption: Encryption, name: str, key: SealingKey | None, masters: MasterKeys | None
) -> bytes:
    """The payload behind a sealed value; `key` is the key of the prospect (or the day) now.

    Raises Erased when the key that sealed it is gone, NotOpened when it can't be opened for another reason.
    """
    if encryption.alg != ALGORITHM:
        raise NotOpened(f"sealed with {encryption.alg}, which this version does not know")
    if key is None or key.key_id != encryption.key:
        raise Erased("the key of this payload was destroyed")
    if masters is None:
        raise NotOpened("sealed, and no master key is set")
    return masters.unwrap(key).open(value, name)


def owner_of_day(day: dt.date) -> bytes:
    """Under which key of the consent table the key of a day lies. No prospect has it: it is not UTF-8."""
    return DAY + day.isoformat().encode()


def is_key_of_day(key: bytes) -> bool:
    """Whether the consent table keeps the key of a day under this key, and no prospect's state."""
    return key.startswith(DAY)


def owner_of(
    record_key: bytes | None, stage: str, partner_id: str | None, quarantined_at: str, reason: str = ""
) -> bytes:
    """Under which key of the consent table lies the key that sealed a quarantine record: the record's own, which names
    its prospect; that of its day when it has none, is longer than any, or can not be joined with it (`key-mismatch`,
    `key-misplaced`)."""
    apart = (stage == "schema" and partner_id is not None) or reason == "key-misplaced"
    if record_key is None or len(record_key) > LONGEST_KEY or apart:
        return owner_of_day(dt.date.fromisoformat(quarantined_at[:10]))
    return record_key


def load_master_keys(file: Path) -> MasterKeys:
    """Read a key file: one base64 key of 32 bytes a line, the current one first; `#` begins a comment.

    Raises InvalidInput naming the line that is wrong, never its content.
    """
    do = "write a new key file with: transfer-gate key new"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the quarantine key file {file} can't be read: {type(error).__name__}", do=do) from error
    keys = []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            key = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise InvalidInput(f"{file}, line {number}: not a base64 key of {KEY_BYTES} bytes", do=do)
        keys.append(key)
    if not keys:
        raise InvalidInput(f"the quarantine key file {file} holds no key", do=do)
    return MasterKeys(keys)


def master_key_id(key: bytes) -> str:
    """The id of a master key: 16 hex digits of a hash of it."""
    return sha256(b"transfer-gate master key:" + key).hexdigest()[:16]


class Sealing(Struct, frozen=True, gc=False):
    """With what payloads are sealed."""

    masters: MasterKeys | None = None


UNSEALED: Final = Sealing()
