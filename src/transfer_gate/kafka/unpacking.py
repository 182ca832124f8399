"""What a fetch brought, unpacked: total over whatever bytes a broker took, and bounded in memory.

aiokafka unpacks a whole batch at once, whatever it grows to (700 MiB come in 714 KB of gzip), and raises for ever at a
header name that is not UTF-8. Here a compressed batch is unpacked up to `BATCH_BYTES` and then parsed by aiokafka's C
code, as before; one that is larger, or that the C code refuses, is parsed record by record from a stream. A record that
is too large to be held becomes a `Withheld`: its coordinates, size and hash. So does what can't be had at all.

Importing this module changes how aiokafka's consumers unpack, those of Faust included (a contract test holds the names
that it replaces). `kafka.clients` imports it, so every consumer of this program does.
"""

import struct
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal

import cramjam
import zstandard
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord, TopicPartition

#: A compressed batch that unpacks to more than this is read as a stream, bytes; a smaller one is held while it is read.
BATCH_BYTES: Final = 2 << 20
#: The largest record that is held in memory, bytes: own topics take 8 MiB, and no input that large is decided.
RECORD_BYTES: Final = (8 << 20) + (64 << 10)
#: Headers of one record: aiokafka makes objects of 64 bytes and more of two bytes each.
RECORD_HEADERS: Final = 1000
#: Of a withheld record, the key is kept up to here (a `prospect_id` has at most 128 characters), and headers.
KEY_BYTES: Final = 512
HEADER_BYTES: Final = 64 << 10
#: Records of one partition that one look at what was fetched brings, bytes with what Python needs for them.
LOOK_BYTES: Final = 4 << 20
#: A look ends after so many bytes that only passed by: the group's heartbeats share the loop.
STRIDE_BYTES: Final = 32 << 20
#: What of one batch is unpacked at most, bytes; 1 MiB of zstd may stand for 32 GiB, of gzip for 1 GiB.
STREAM_BYTES: Final = 1 << 30
#: A block of snappy is unpacked in one piece, so larger ones are not.
SNAPPY_BYTES: Final = 64 << 20
#: Offsets of a batch that can't be unpacked are named one by one up to here, else as a range.
NAMED_OFFSETS: Final = 1000
#: A batch whose checksum is wrong is fetched so many times before it is taken for what stands on the disk.
CRC_TRIES: Final = 3

#: An input record of more than this (key, value and headers, unpacked) is quarantined by reference, `too-large`. More
#: than any record that comes uncompressed within Kafka's default `max.message.bytes`; less, with all that the gate
#: adds, than its own topics take (`kafka.catalogue`).
LARGEST_RECORD: Final = 2 << 20
#: Inbound headers of a record that is quarantined by reference are kept up to here.
KEPT_HEADER_BYTES: Final = HEADER_BYTES

#: What Python needs for a record and for a header beside their bytes, rather more than less.
RECORD_OVERHEAD: Final = 640
HEADER_OVERHEAD: Final = 128
_CHUNK: Final = 256 << 10
#: KIP-98: base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and greatest timestamp,
#: producer id, its epoch, base sequence, count.
HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_LENGTH: Final = struct.Struct(">i")
_OVERHEAD: Final = 12
_EPOCH_AT: Final = 12
_MAGIC_AT: Final = 16
_ATTRIBUTES_AT: Final = 21
_CODEC, _LOG_APPEND_TIME = 0x07, 0x08
_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
_XERIAL: Final = b"\x82SNAPPY\x00"
_LZ4_MAGIC: Final = 0x184D2204

Why = Literal["too-large", "undecodable"]
Headers = tuple[tuple[str, bytes | None], ...]


@dataclass
class Withheld(ConsumerRecord[bytes | None, bytes | None]):  # type: ignore[misc]  # aiokafka has no types
    """A record without its value: too large to be held, or bytes that can't be had.

    `size` and `digest` (SHA-256, hex) are those of the value; of what can't be had, those of the batch as it is stored.
    `last_offset` is behind `offset` where a whole range of offsets can't be had.
    """

    why: Why = "too-large"
    size: int = 0
    digest: str = ""
    last_offset: int = -1


class _Malformed(Exception):
    """These bytes are no record, or no compressed data."""


class _Ended(_Malformed):
    """The bytes end within a record."""


class _TooMuch(_Malformed):
    """More than STREAM_BYTES."""


class RawRecords:
    """Bytes of a fetch; stands in for aiokafka's MemoryRecords, which does not have them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.records: Any = MemoryRecords(data)

    def has_next(self) -> bool:
        """Whether a whole batch is there."""
        return bool(self.records.has_next())

    def size_in_bytes(self) -> int:
        """Bytes of the fetch."""
        return len(self.data)


_fetched_twice: dict[tuple[TopicPartition, int], int] = {}


class BoundedRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # as above
    """Records of one fetch of a partition. Yields None where a look has to end though nothing was found."""

    next_fetch_offset: int
    #: Leader epoch of the batch that is read (KIP-320), -1 for none; and by epoch the offset after what was read of it.
    epoch = -1
    _epochs: dict[int, int] | None = None
    #: Offsets that the log ought to hold and does not, from the first to before the second: it was compacted.
    hole: tuple[int, int] | None = None
    #: Whether the offset from which was fetched lies inside a batch.
    inside = False
    _expected: int | None = None

    def take_epochs(self) -> dict[int, int]:
        """By leader epoch: the offset after what was read since the last call."""
        epochs, self._epochs = self._epochs or {}, None
        if self.epoch >= 0:
            epochs[self.epoch] = self.next_fetch_offset
        return epochs

    def _begin_epoch(self, view: memoryview) -> None:
        epoch = _LENGTH.unpack_from(view, _EPOCH_AT)[0] if view[_MAGIC_AT] >= 2 else -1
        if epoch != self.epoch:
            self._epochs = self.take_epochs()
            self.epoch = epoch

    def _look_for_hole(self, view: memoryview, base: int, after: int) -> None:
        """Only compaction takes batches out of the middle of a log, or records out of a batch."""
        if self._expected is None:
            self.inside = base < self.next_fetch_offset
        expected = self.next_fetch_offset if self._expected is None else self._expected
        self._expected = after
        if self.hole is not None:
            return
        if base > expected:
            self.hole = expected, base
        elif view[_MAGIC_AT] >= 2 and _compacted(HEADER.unpack_from(view)[-1], after - base - 1):
            self.hole = max(base, expected), after

    def _unpack_records(self) -> Iterator[ConsumerRecord | None]:
        # As aiokafka's own (KIP-98: aborted and control batches), but for batches that it can't or must not unpack.
        place, raw = self._tp, self._records
        data, records, position = raw.data, raw.records, 0
        committed_only = self._isolation_level == fetcher.READ_COMMITTED
        while records.has_next():
            view = memoryview(data)[position:]
            size = _OVERHEAD + _LENGTH.unpack_from(view, 8)[0]
            view, position = view[:size], position + size
            batch = records.next_batch()
            base, after = batch.base_offset, batch.next_offset
            self._begin_epoch(view)
            self._look_for_hole(view, base, after)
            if self._check_crcs and not batch.validate_crc():
                tries = _fetched_twice[place, base] = _fetched_twice.get((place, base), 0) + 1
                if tries < CRC_TRIES:
                    self.next_fetch_offset = max(self.next_fetch_offset, base)
                    return  # fetched again from here
                del _fetched_twice[place, base]
                yield from self._lost(view, max(base, self.next_fetch_offset), after)
                self.next_fetch_offset = max(self.next_fetch_offset, after)
                continue
            if committed_only and batch.producer_id is not None:
                self._consume_aborted_up_to(base)
                if batch.is_control_batch and self._contains_abort_marker(batch):
                    self._aborted_producers.discard(batch.producer_id)
                if batch.is_transactional and batch.producer_id in self._aborted_producers:
                    self.next_fetch_offset = after
                    continue
            if batch.is_control_batch:
                self.next_fetch_offset = after
                continue
            yield from self._records_of(batch, view)
            self.next_fetch_offset = max(self.next_fetch_offset, after)

    def _records_of(self, batch: Any, view: memoryview) -> Iterator[ConsumerRecord | None]:
        codec = 0
        if view[_MAGIC_AT] >= 2:
            codec = view[_ATTRIBUTES_AT + 1] & _CODEC
            if codec:
                packed = view[HEADER.size :]
                plain = _within(codec, packed, BATCH_BYTES)
                if plain is None:
                    yield from self._stream(view)
                    return
                header = bytearray(view[: HEADER.size])
                header[_ATTRIBUTES_AT + 1] &= ~_CODEC & 0xFF
                _LENGTH.pack_into(header, 8, HEADER.size - _OVERHEAD + len(plain))
                batch = MemoryRecords(bytes(header) + plain).next_batch()
        place = self._tp
        # Offsets are deltas that the producer wrote: one outside of the batch, or a gap where there is none by right,
        # would move the position back or over records.
        base, after, sparse = 0, 1 << 63, True
        if view[_MAGIC_AT] >= 2:
            fields = HEADER.unpack_from(view)
            base, after, sparse = fields[0], batch.next_offset, _compacted(fields[-1], fields[6])
        try:
            for record in batch:
                offset = record.offset
                if base <= offset < self.next_fetch_offset:
                    continue
                if not base <= offset < after or not (sparse or offset <= max(base, self.next_fetch_offset)):
                    yield from self._stream(view)
                    return
                headers = record.headers
                if headers and len(headers) > RECORD_HEADERS:
                    found: ConsumerRecord = self._withheld(
                        record.offset, record.timestamp, record.key, _digest(record.value), "too-large"
                    )
                else:
                    found = self._consumer_record(place, record)
                self.next_fetch_offset = record.offset + 1
                yield found
        except (CorruptRecordException, ValueError, IndexError, MemoryError, OverflowError, SystemError):
            # What went before was yielded, and is passed over by its offset.
            if view[_MAGIC_AT] >= 2:
                yield from self._stream(view)
            else:
                yield from self._lost(view, self.next_fetch_offset, batch.next_offset)
        except (OSError, zlib.error, NotImplementedError, RuntimeError):  # of aiokafka's codecs, for old formats
            yield from self._lost(view, self.next_fetch_offset, batch.next_offset)

    def _stream(self, view: memoryview) -> Iterator[ConsumerRecord | None]:
        """A batch record by record, in bounded memory; whatever can't be had of it is named."""
        _, _, _, _, _, attributes, last_delta, first_ms, greatest_ms, _, _, _, count = HEADER.unpack_from(view)
        base, stamp = HEADER.unpack_from(view)[0], greatest_ms if attributes & _LOG_APPEND_TIME else None
        stream = _Stream(_unpacked(attributes & _CODEC, view[HEADER.size :]))
        try:
            for _ in range(count):
                parsed = None
                for parsed in _parse(stream):
                    if parsed is None:
                        yield None
                if parsed is None:
                    break
                if parsed.delta is None:
                    continue  # no record: its offset is named below, if it is in a gap
                offset = base + parsed.delta
                first = max(base, self.next_fetch_offset)
                if not first <= offset <= base + last_delta:
                    continue
                if not _compacted(count, last_delta):
                    yield from self._lost(view, first, offset)
                timestamp = first_ms + parsed.timestamp_delta if stamp is None else stamp
                self.next_fetch_offset = offset + 1
                if parsed.why is None:
                    yield self._whole(offset, timestamp, parsed)
                else:
                    yield self._withheld(
                        offset, timestamp, parsed.key, (parsed.size, parsed.digest), parsed.why, parsed.headers
                    )
        except (_Malformed, zlib.error, zstandard.ZstdError, cramjam.DecompressionError, MemoryError, OverflowError):
            pass
        finally:
            stream.close()
        if not _compacted(count, last_delta) or self.next_fetch_offset <= base:
            yield from self._lost(view, max(base, self.next_fetch_offset), base + last_delta + 1)

    def _lost(self, view: memoryview, first: int, after: int) -> Iterator[ConsumerRecord]:
        """Name what can't be had, from offset `first` to before `after`."""
        if first >= after:
            return
        digest = (len(view), sha256(view[_ATTRIBUTES_AT:]).hexdigest())
        timestamp = HEADER.unpack_from(view)[8] if len(view) >= HEADER.size else -1
        if after - first > NAMED_OFFSETS:
            found = self._withheld(first, timestamp, None, digest, "undecodable")
            found.last_offset = after - 1
            self.next_fetch_offset = after
            yield found
            return
        for offset in range(first, after):
            self.next_fetch_offset = offset + 1
            yield self._withheld(offset, timestamp, None, digest, "undecodable")

    def _whole(self, offset: int, timestamp: int, parsed: "_Parsed") -> ConsumerRecord:
        key, value = parsed.key, parsed.value
        return ConsumerRecord(
            self._tp.topic,
            self._tp.partition,
            offset,
            timestamp,
            0,
            key,
            value,
            None,
            -1 if key is None else len(key),
            -1 if value is None else len(value),
            parsed.headers,
        )

    def _withheld(
        self,
        offset: int,
        timestamp: int,
        key: bytes | None,
        measured: tuple[int, str],
        why: Why,
        headers: Headers = (),
    ) -> Withheld:
        size, digest = measured
        kept = key if key is None or len(key) <= KEY_BYTES else None
        return Withheld(
            self._tp.topic,
            self._tp.partition,
            offset,
            timestamp,
            0,
            kept,
            None,
            None,
            -1 if kept is None else len(kept),
            0,
            headers,
            why,
            size,
            digest,
            offset,
        )


class Look:
    """What one look at the fetched records of an assignment may bring at most, bytes: of `each` partition, by topic,
    and what is `left` of all. One record of each partition comes in any case, while anything is left.
    """

    __slots__ = ("each", "left")

    def __init__(self, each: Mapping[str, int], left: int) -> None:
        self.each = each
        self.left = left


class BoundedResult(fetcher.FetchResult):  # type: ignore[misc]  # as above
    """What was fetched of a partition, handed out in looks of bounded size."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[ConsumerRecord]:
        """Up to `max_records` records, and about as many bytes as the look allows that stands at the assignment, else
        LOOK_BYTES.
        """
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        look: Look | None = getattr(self._assignment, "look", None)
        if look is None:
            look = Look({}, LOOK_BYTES)
        elif look.left <= 0:
            return []
        most = min(look.each.get(self._topic_partition.topic, LOOK_BYTES), look.left)
        found: list[ConsumerRecord] = []
        left, size = -1 if max_records is None else max_records, 0
        for record in self._partition_records:
            if record is None:
                self._update_position()
                look.left -= size
                return found
            found.append(record)
            size += RECORD_OVERHEAD + record.serialized_value_size
            if record.headers or record.serialized_key_size > KEY_BYTES:
                size += record.serialized_key_size + sum(
                    HEADER_OVERHEAD + len(value or b"") for _, value in record.headers
                )
            left -= 1
            if left == 0 or size >= most:
                self._update_position()
                look.left -= size
                return found
        look.left -= size
        self._update_position()
        self._partition_records = None
        return found

    def _update_position(self) -> None:
        super()._update_position()
        # aiokafka has no place for it; who asks for positions takes it from there (`gate.faust.fetching`).
        state = self._assignment.state_value(self._topic_partition)
        state.leader_epochs = {**getattr(state, "leader_epochs", {}), **self._partition_records.take_epochs()}
        state.hole = getattr(state, "hole", None) or self._partition_records.hole
        state.inside = getattr(state, "inside", False) or self._partition_records.inside

    def getone(self) -> ConsumerRecord | None:
        """The next record."""
        while self.has_more():
            some = self.getall(1)
            if some:
                return some[0]
        return None


fetcher.MemoryRecords = RawRecords
fetcher.PartitionRecords = BoundedRecords
fetcher.FetchResult = BoundedResult


def last_offset(record: ConsumerRecord) -> int:
    """The last offset that a record stands for: its own as a rule."""
    return record.last_offset if type(record) is Withheld else record.offset


def pack(codec: int, data: bytes) -> bytes:
    """Compress the records of a batch."""
    if codec == _GZIP:
        return bytes(gzip_encode(data))
    if codec == _SNAPPY:
        return bytes(snappy_encode(data))
    if codec == _LZ4:
        return bytes(lz4_encode(data))
    return bytes(zstd_encode(data))


def _compacted(count: int, last_delta: int) -> bool:
    """Whether a batch has gaps by right: compaction keeps its offsets and takes records away."""
    return count < last_delta + 1


def _digest(value: bytes | None) -> tuple[int, str]:
    return len(value or b""), sha256(value or b"").hexdigest()


def _within(codec: int, packed: memoryview, limit: int) -> bytes | None:
    """The data unpacked, when that is at most `limit` bytes; None when it is more, or can't be."""
    parts: list[bytes] = []
    size = 0
    try:
        for part in _unpacked(codec, packed):
            size += len(part)
            if size > limit:
                return None
            parts.append(part)
    except (_Malformed, zlib.error, zstandard.ZstdError, cramjam.DecompressionError, MemoryError):
        return None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unpacked(codec: int, packed: memoryview) -> Generator[bytes, None, None]:
    """The data in parts of bounded size."""
    if codec == 0:
        for start in range(0, len(packed), _CHUNK):
            yield bytes(packed[start : start + _CHUNK])
    elif codec == _GZIP:
        yield from _gunzip(packed)
    elif codec == _SNAPPY:
        yield from _unsnappy(packed)
    elif codec == _LZ4:
        yield from _unlz4(packed)
    elif codec == _ZSTD:
        reader = zstandard.ZstdDecompressor(max_window_size=32 << 20).stream_reader(
            bytes(packed), read_across_frames=True
        )
        while part := reader.read(_CHUNK):
            yield part
    else:
        raise _Malformed("a codec that Kafka does not know")


def _gunzip(packed: memoryview) -> Generator[bytes, None, None]:
    left: bytes | memoryview = packed
    while left:
        member = zlib.decompressobj(31)
        while not member.eof:
            part = member.decompress(left, _CHUNK)
            left = member.unconsumed_tail
            if part:
                yield part
            elif not left:
                break
        if not member.eof:
            raise _Ended
        left = member.unused_data
        if bytes(left[:2]) != b"\x1f\x8b":
            return  # padding


def _unsnappy(packed: memoryview) -> Generator[bytes, None, None]:
    if bytes(packed[:8]) != _XERIAL:
        yield _snappy_block(packed)
        return
    place = 16
    while place < len(packed):
        if place + 4 > len(packed):
            raise _Ended
        size = int(_LENGTH.unpack_from(packed, place)[0])
        if size < 0 or place + 4 + size > len(packed):
            raise _Ended
        yield _snappy_block(packed[place + 4 : place + 4 + size])
        place += 4 + size


def _snappy_block(block: memoryview) -> bytes:
    raw = bytes(block)
    if cramjam.snappy.decompress_raw_len(raw) > min(SNAPPY_BYTES, 64 * len(raw) + 64):
        raise _TooMuch
    return bytes(cramjam.snappy.decompress_raw(raw))


def _unlz4(packed: memoryview) -> Generator[bytes, None, None]:
    """LZ4 frames block by block; https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md."""
    place = 0
    while place < len(packed):
        if place + 7 > len(packed):
            raise _Ended
        magic = int.from_bytes(packed[place : place + 4], "little")
        if magic & 0xFFFFFFF0 == 0x184D2A50:
            place += 8 + int.from_bytes(packed[place + 4 : place + 8], "little")
            continue
        if magic != _LZ4_MAGIC:
            raise _Malformed
        flags, largest = packed[place + 4], 1 << (8 + 2 * (packed[place + 5] >> 4 & 7))
        if flags >> 6 != 1 or largest < 1 << 16:
            raise _Malformed
        begin = place
        place += 7 + (8 if flags & 0x08 else 0) + (4 if flags & 0x01 else 0)
        blocks: list[tuple[int, int, bool]] = []
        while True:
            if place + 4 > len(packed):
                raise _Ended
            head = int.from_bytes(packed[place : place + 4], "little")
            place += 4
            if head == 0:
                break
            size, stored = head & 0x7FFFFFFF, bool(head >> 31)
            if place + size > len(packed):
                raise _Ended
            blocks.append((place, size, stored))
            place += size + (4 if flags & 0x10 else 0)
        place += 4 if flags & 0x04 else 0
        whole = len(blocks) * largest
        linked = not flags & 0x20  # each block may look back into the one before
        if linked and whole > SNAPPY_BYTES:
            raise _TooMuch
        if linked or whole <= BATCH_BYTES:
            yield bytes(cramjam.lz4.decompress(bytes(packed[begin:place])))
            continue
        for start, size, stored in blocks:
            block = bytes(packed[start : start + size])
            yield block if stored else bytes(cramjam.lz4.decompress_block(block, output_len=largest))


class _Stream:
    """Bytes that come in parts, read forward."""

    def __init__(self, parts: Generator[bytes, None, None]) -> None:
        self._parts = parts
        self._part = b""
        self._at = 0
        #: Bytes read since the beginning.
        self.read = 0

    def close(self) -> None:
        """Free what unpacks."""
        self._parts.close()

    def some(self, most: int) -> bytes:
        """At least one byte, up to `most`. Raises _Ended, _TooMuch."""
        while self._at >= len(self._part):
            try:
                self._part, self._at = next(self._parts), 0
            except StopIteration:
                raise _Ended from None
        found = self._part[self._at : self._at + most]
        self._at += len(found)
        self.read += len(found)
        if self.read > STREAM_BYTES:
            raise _TooMuch
        return found

    def exactly(self, count: int) -> bytes:
        """So many bytes."""
        found = self.some(count) if count else b""
        if len(found) < count:
            parts = [found]
            left = count - len(found)
            while left:
                parts.append(self.some(left))
                left -= len(parts[-1])
            found = b"".join(parts)
        return found

    def varint(self) -> int:
        """A zigzag varint (up to 64 bits)."""
        number, shift = 0, 0
        while True:
            byte = self.exactly(1)[0]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (number >> 1) ^ -(number & 1)
            shift += 7
            if shift > 63:
                raise _Malformed


@dataclass
class _Parsed:
    """A record of a stream; `delta` is None for bytes that are none. `why`: its value is not held."""

    delta: int | None
    timestamp_delta: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()
    why: Why | None = None
    size: int = 0
    digest: str = ""


def _parse(stream: _Stream) -> Iterator[_Parsed | None]:
    """The next record, last; before it None for each stride that passed by."""
    length = stream.varint()
    if length < 0:
        raise _Malformed
    if length <= RECORD_BYTES:
        body = stream.exactly(length)
        yield _parse_body(body)
        return
    end = stream.read + length
    stream.exactly(1)
    parsed = _Parsed(None, stream.varint(), why="too-large")
    delta = stream.varint()
    size = stream.varint()
    if 0 <= size <= KEY_BYTES:
        parsed.key = stream.exactly(size)
    elif size > 0:
        yield from _pass(stream, min(size, end - stream.read), None)
    size = stream.varint()
    parsed.size = max(size, 0)
    hashed = sha256()
    if size > 0:
        yield from _pass(stream, min(size, end - stream.read), hashed.update)
    parsed.digest = hashed.hexdigest()
    left = end - stream.read
    if left < 0:
        raise _Malformed
    if left <= HEADER_BYTES:
        try:
            parsed.headers = _parse_headers(stream.exactly(left), 0)
        except _Malformed:
            parsed.why = "undecodable"
    else:
        yield from _pass(stream, left, None)
    parsed.delta = delta
    yield parsed


def _pass(stream: _Stream, count: int, each: Callable[[bytes], None] | None) -> Iterator[None]:
    since = 0
    while count > 0:
        part = stream.some(count)
        count -= len(part)
        since += len(part)
        if each is not None:
            each(part)
        if since >= STRIDE_BYTES:
            since = 0
            yield None


def _parse_body(body: bytes) -> _Parsed:
    """A record, as far as it is one."""
    parsed = _Parsed(None)
    try:
        timestamp_delta, at = _varint(body, 1)
        parsed.timestamp_delta = timestamp_delta
        delta, at = _varint(body, at)
        parsed.delta = delta
        parsed.key, at = _nullable(body, at)
        parsed.value, at = _nullable(body, at)
        parsed.headers = _parse_headers(body, at)
    except _TooMuch:
        parsed.size, parsed.digest = _digest(parsed.value)
        parsed.value, parsed.why = None, "too-large"
    except _Malformed:
        parsed.size, parsed.digest = _digest(body)
        parsed.value, parsed.why = None, "undecodable"
    return parsed


def _parse_headers(body: bytes, at: int) -> Headers:
    """Headers, whose names may be any bytes: those that are no UTF-8 become lone surrogates (PEP 383), and go out as
    the same bytes. Raises _Malformed, _TooMuch.
    """
    count, at = _varint(body, at)
    if count < 0:
        raise _Malformed
    if count > RECORD_HEADERS:
        raise _TooMuch
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name, at = _nullable(body, at)
        value, at = _nullable(body, at)
        headers.append(((name or b"").decode("utf-8", "surrogateescape"), value))
    if at != len(body):
        raise _Malformed
    return tuple(headers)


def _nullable(body: bytes, at: int) -> tuple[bytes | None, int]:
    size, at = _varint(body, at)
    if size < 0:
        return None, at
    if at + size > len(body):
        raise _Malformed
    return body[at : at + size], at + size


def _varint(body: bytes, at: int) -> tuple[int, int]:
    number, shift = 0, 0
    while at < len(body):
        byte = body[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
        shift += 7
        if shift > 63:
            break
    raise _Malformed
