"""How large records are, rather more than less, and which input records are too large to be looked at."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from aiokafka.structs import ConsumerRecord

from transfer_gate.kafka.unpacking import HEADER_OVERHEAD, LARGEST_RECORD, Why, Withheld
from transfer_gate.records.sealing import LONGEST_KEY

#: Bytes of a batch beside its records, and of a record beside its key, value and headers.
BATCH_OVERHEAD: Final = 61
_RECORD_OVERHEAD: Final = 36
#: Of each header, bytes beside its name and value.
_HEADER_OVERHEAD: Final = 10


def header_bytes(headers: Sequence[tuple[str, bytes | None]]) -> int:
    """Bytes of headers, rather more than less. A character that is no ASCII has up to four bytes."""
    size = 0
    for name, value in headers:
        size += _HEADER_OVERHEAD + (len(name) if name.isascii() else 4 * len(name))
        if value is not None:
            size += len(value)
    return size


def size_of(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> int:
    """Bytes of a record, rather more than less."""
    size = _RECORD_OVERHEAD
    if key is not None:
        size += len(key)
    if value is not None:
        size += len(value)
    return size + header_bytes(headers) if headers else size


def at_most(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> int:
    """What `size_of` returns, or more, in a third of the time: every header name counts as if it were not ASCII."""
    size = _RECORD_OVERHEAD
    if key is not None:
        size += len(key)
    if value is not None:
        size += len(value)
    for name, content in headers:
        size += _HEADER_OVERHEAD + 4 * len(name)
        if content is not None:
            size += len(content)
    return size


def is_prospect(key: bytes | None) -> bool:
    """Whether a record's key may be a `prospect_id`, by its length."""
    return key is not None and len(key) <= LONGEST_KEY


def weight(record: ConsumerRecord) -> int:
    """Bytes of an input record's key, value and headers, with what Python needs for each header."""
    key_size: int = record.serialized_key_size  # -1 where there is none
    value_size: int = record.serialized_value_size
    size = 0
    if key_size > 0:
        size += key_size
    if value_size > 0:
        size += value_size
    for name, value in record.headers:
        size += HEADER_OVERHEAD + len(name) + len(value or b"")
    return size


def unheld(record: ConsumerRecord) -> Why | None:
    """Why an input record is quarantined without a look at its value; None as a rule."""
    if type(record) is Withheld:
        why: Why = record.why
        return why
    key: bytes | None = record.key
    value: bytes | None = record.value
    headers: Sequence[tuple[str, bytes | None]] = record.headers
    size = 0
    if key is not None:
        size += len(key)
    if value is not None:
        size += len(value)
    if size > LARGEST_RECORD or (headers and header_bytes(headers) > LARGEST_RECORD):
        return "too-large"
    return None


def measured(record: ConsumerRecord) -> tuple[int, str]:
    """Size and SHA-256 (hex) of an input record's value, whether it is held or not."""
    if type(record) is Withheld:
        return record.size, record.digest
    value = record.value or b""
    return len(value), sha256(value).hexdigest()
