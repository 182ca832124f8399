"""How large records are, rather more than less; which input records are too large to be looked at; what topics take: a
record that does not fit goes out compressed, or by reference.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from aiokafka.record._crecords.cutil import crc32c_cython
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import ConsumerRecord

from transfer_gate.kafka.unpacking import HEADER, HEADER_OVERHEAD, LARGEST_RECORD, Why, Withheld, pack
from transfer_gate.records.headers import Headers
from transfer_gate.records.sealing import LONGEST_KEY

#: Bytes of a batch beside its records, and of a record beside its key, value and headers.
BATCH_OVERHEAD: Final = 61
_RECORD_OVERHEAD: Final = 36
#: Of each header, bytes beside its name and value.
_HEADER_OVERHEAD: Final = 10
#: `compression.type` of a topic to the codec that batches end up with there; the broker compresses anew where it is
#: not the producer's, and measures the result. 0: not compressed.
_CODECS: Final = {"producer": 1, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4, "uncompressed": 0}


def header_bytes(headers: Headers) -> int:
    """Bytes of headers, rather more than less. A character that is no ASCII has up to four bytes."""
    size = 0
    for name, value in headers:
        size += _HEADER_OVERHEAD + (len(name) if name.isascii() else 4 * len(name))
        if value is not None:
            size += len(value)
    return size


def size_of(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes of a record, rather more than less."""
    size = _RECORD_OVERHEAD
    if key is not None:
        size += len(key)
    if value is not None:
        size += len(value)
    return size + header_bytes(headers) if headers else size


def at_most(key: bytes | None, value: bytes | None, headers: Headers) -> int:
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
    headers: Headers = record.headers
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


class Limits:
    """`max.message.bytes` and codec by topic; a topic that is not here takes what the catalogue sets."""

    __slots__ = ("bytes_of", "codecs", "least")

    def __init__(self, configs: Mapping[str, Mapping[str, str]]) -> None:
        """`configs`: the settings of topics, as brokers give them."""
        self.bytes_of = {
            topic: int(found["max.message.bytes"]) for topic, found in configs.items() if "max.message.bytes" in found
        }
        self.codecs = {
            topic: _CODECS.get(found.get("compression.type", "producer"), 0) for topic, found in configs.items()
        }
        #: The least of these limits.
        self.least = min(self.bytes_of.values(), default=1 << 40)

    def plain(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> bool:
        """Whether a topic takes the record as it is, alone in its batch."""
        limit = self.bytes_of.get(topic)
        return limit is None or BATCH_OVERHEAD + size_of(key, value, headers) <= limit

    def fits(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> bool:
        """Whether a topic takes the record, compressed if need be."""
        if self.plain(topic, key, value, headers):
            return True
        codec = self.codecs.get(topic, 1)
        return codec != 0 and len(alone(codec, 0, key, value, headers).build()) <= self.bytes_of[topic]


ANY_SIZE: Final = Limits({})


class RawBatch:
    """A batch of one record whose header names may be any bytes (lone surrogates stand for those that are no UTF-8,
    PEP 383), which aiokafka's builder refuses. Has of that builder what the writer calls."""

    def __init__(self, codec: int, timestamp_ms: int, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        self._codec = codec
        self._record = _record(key, value, headers)
        self._timestamp_ms = timestamp_ms
        self._state = (-1, -1, 0)

    def set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        """See aiokafka's builder."""
        self._state = (producer_id, producer_epoch, base_sequence)

    def size(self) -> int:
        """Bytes before compression."""
        return BATCH_OVERHEAD + len(self._record)

    def build(self) -> bytearray:
        """The batch as bytes."""
        records, codec = self._record, self._codec
        if codec:
            records = pack(codec, records)
        transactional = 0x10
        stamp = self._timestamp_ms
        head = HEADER.pack(0, 49 + len(records), 0, 2, 0, codec | transactional, 0, stamp, stamp, *self._state, 1)
        batch = bytearray(head) + records
        batch[17:21] = crc32c_cython(bytes(batch[21:])).to_bytes(4, "big")
        return batch


def alone(
    codec: int, timestamp_ms: int, key: bytes | None, value: bytes | None, headers: Headers
) -> RawBatch | DefaultRecordBatchBuilder:
    """A transactional batch of one record, of whatever size."""
    if not all(name.isascii() for name, _ in headers):
        return RawBatch(codec, timestamp_ms, key, value, headers)
    builder = DefaultRecordBatchBuilder(
        2, codec, is_transactional=1, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=1
    )
    builder.append(0, timestamp_ms, key, value, list(headers))
    return builder


def _record(key: bytes | None, value: bytes | None, headers: Headers) -> bytes:
    parts = [b"\x00\x00\x00", _sized(key), _sized(value), _varint(len(headers))]
    for name, content in headers:
        parts += [_sized(name.encode("utf-8", "surrogateescape")), _sized(content)]
    body = b"".join(parts)
    return _varint(len(body)) + body


def _sized(data: bytes | None) -> bytes:
    return _varint(-1) if data is None else _varint(len(data)) + data


def _varint(number: int) -> bytes:
    left, out = (number << 1) ^ (number >> 63), bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)
