"""What a fetch brought is unpacked whatever it is: every offset has a record, and memory stays bounded."""

import tracemalloc
import zlib
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

import pytest
import zstandard
from aiokafka.consumer import fetcher
from aiokafka.structs import ConsumerRecord, TopicPartition
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.raw_batches import CODECS, Raw, around, batch, packed, record, varint
from transfer_gate.kafka import unpacking
from transfer_gate.kafka.batches import Batches
from transfer_gate.kafka.sizes import Limits
from transfer_gate.kafka.unpacking import RECORD_BYTES, BoundedRecords, RawRecords, Withheld

PLACE: Final = TopicPartition("t", 3)
MIB: Final = 1 << 20
CODEC_NAMES: Final = tuple(CODECS)


def fetched(data: bytes, start: int = 0) -> tuple[list[ConsumerRecord], int]:
    """All records of a fetch, and the position after them."""
    records = BoundedRecords(PLACE, RawRecords(data), [], start, None, None, True, fetcher.READ_COMMITTED)
    return [each for each in records if each is not None], records.next_fetch_offset


def plain(each: ConsumerRecord) -> tuple[Any, ...]:
    return each.offset, each.key, each.value, tuple(each.headers)


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_an_ordinary_batch_is_read_as_ever(codec: str) -> None:
    records: list[Raw] = [(b"k%d" % n, b"v" * n if n else None, [(b"h", b"x"), (b"n", None)]) for n in range(5)]
    found, after = fetched(batch(records, codec, base=7))
    wanted = [(7 + n, b"k%d" % n, b"v" * n if n else None, (("h", b"x"), ("n", None))) for n in range(5)]
    assert [plain(each) for each in found] == wanted
    assert after == 12
    assert not any(isinstance(each, Withheld) for each in found)


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_a_header_name_that_is_not_utf_8_comes_in_and_goes_out_as_the_same_bytes(codec: str) -> None:
    raw = batch([(b"a", b"1", []), (b"b", b"2", [(b"source-d\xe9p", b"x")]), (b"c", b"3", [])], codec)
    found, after = fetched(raw)
    assert [each.value for each in found] == [b"1", b"2", b"3"]
    assert after == 3
    ((name, content),) = found[1].headers
    assert name.encode("utf-8", "surrogateescape") == b"source-d\xe9p"

    batches = Batches(0, 5)
    for each in found:
        batches.add("out", each.key, each.value, each.headers)
    written = batches.close()["out"]
    assert [count for _, count in written] == [1, 1, 1]
    again: list[ConsumerRecord] = []
    for builder, _ in written:
        builder.set_producer_state(-1, -1, -1)
        again += fetched(bytes(builder.build()))[0]
    assert [(each.key, each.value, tuple(each.headers)) for each in again] == [
        (each.key, each.value, tuple(each.headers)) for each in found
    ]
    assert content == b"x"


@pytest.mark.parametrize("codec", CODEC_NAMES[1:])
def test_a_record_that_is_too_large_to_hold_is_known_by_size_and_hash(codec: str) -> None:
    huge = bytes(12 * MIB)
    raw = batch([(b"a", b"1", []), (b"b", huge, [(b"h", b"x")]), (b"c", b"3", [])], codec, base=100)
    found, after = fetched(raw)
    assert [each.offset for each in found] == [100, 101, 102]
    assert after == 103
    held = found[1]
    assert isinstance(held, Withheld)
    assert (held.key, held.value, tuple(held.headers), held.why) == (b"b", None, (("h", b"x"),), "too-large")
    assert (held.size, held.digest) == (len(huge), sha256(huge).hexdigest())


@pytest.mark.parametrize("codec", ["gzip", "zstd", "lz4"])
def test_a_batch_of_a_hundred_mebibytes_costs_few(codec: str) -> None:
    size = 100 * MIB
    body = b"\x00\x00\x00" + b"\x02k"
    value_head = varint(size)
    length = len(body) + len(value_head) + size + 1
    start, end = varint(length) + body + value_head, b"\x00"
    if codec == "gzip":
        squeeze = zlib.compressobj(9, wbits=31)
        parts = [squeeze.compress(start), *(squeeze.compress(bytes(MIB)) for _ in range(100)), squeeze.compress(end)]
        payload = b"".join([*parts, squeeze.flush()])
    elif codec == "zstd":
        squeezing = zstandard.ZstdCompressor(level=3).compressobj()
        parts = [squeezing.compress(start), *(squeezing.compress(bytes(MIB)) for _ in range(100))]
        payload = b"".join([*parts, squeezing.compress(end), squeezing.flush()])
    else:
        payload = bytes(CODECS["lz4"][1](start + bytes(size) + end))
    raw = around(payload, 1, CODECS[codec][0])
    tracemalloc.start()
    try:
        found, after = fetched(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(found), after) == (1, 1)
    assert isinstance(found[0], Withheld)
    assert found[0].size == size
    assert peak < 32 * MIB


@pytest.mark.parametrize("codec", CODEC_NAMES[1:])
def test_what_can_not_be_unpacked_is_named_offset_by_offset(codec: str) -> None:
    raw = around(b"no such thing" * 10, 3, CODECS[codec][0], base=40)
    found, after = fetched(raw + batch([(b"k", b"v", [])], base=43))
    assert [(each.offset, type(each)) for each in found[:3]] == [(40 + n, Withheld) for n in range(3)]
    assert {each.why for each in found[:3]} == {"undecodable"}
    assert plain(found[3]) == (43, b"k", b"v", ())
    assert after == 44


def test_a_codec_that_nobody_knows_and_an_absurd_range_are_named_too() -> None:
    found, after = fetched(around(b"x" * 20, 2, 7))
    assert [each.offset for each in found] == [0, 1]
    found, after = fetched(around(b"x" * 20, 1 << 30, 1, last_delta=(1 << 30) - 1))
    (only,) = found
    assert isinstance(only, Withheld)
    assert (only.offset, only.last_offset, after) == (0, (1 << 30) - 1, 1 << 30)


def test_a_stream_that_breaks_off_keeps_what_came_before() -> None:
    values = [bytes([n]) * MIB for n in range(8)]
    whole = CODECS["gzip"][1](b"".join(record(n, b"k", value, []) for n, value in enumerate(values)))
    found, after = fetched(around(bytes(whole)[: len(whole) * 3 // 5], 8, 1))
    assert [each.offset for each in found] == list(range(8))
    assert after == 8
    kept = [each for each in found if not isinstance(each, Withheld)]
    assert [each.value for each in kept] == values[: len(kept)]
    assert 2 <= len(kept) < 8


def test_a_batch_with_a_wrong_checksum_is_fetched_again_before_it_is_given_up() -> None:
    raw = bytearray(batch([(b"k", b"v", []), (b"k", b"w", [])], base=9))
    raw[-1] ^= 0xFF
    for _ in range(unpacking.CRC_TRIES - 1):
        assert fetched(bytes(raw), 9) == ([], 9)
    found, after = fetched(bytes(raw), 9)
    assert [(each.offset, type(each)) for each in found] == [(9, Withheld), (10, Withheld)]
    assert after == 11


def test_a_million_headers_in_one_record_are_not_made_objects_of() -> None:
    many = [(b"", None)] * 200_000
    found, _ = fetched(batch([(b"k", b"v", many), (b"k", b"w", [])], "gzip"))
    assert isinstance(found[0], Withheld)
    assert found[0].headers == ()
    assert (found[0].size, found[0].digest) == (1, sha256(b"v").hexdigest())
    assert found[1].value == b"w"


def test_a_key_that_no_prospect_has_is_not_kept_with_a_withheld_record() -> None:
    found, _ = fetched(batch([(b"k" * 600, bytes(RECORD_BYTES + 1), [])], "gzip"))
    assert found[0].key is None


@given(st.binary(max_size=300), st.integers(1, 5), st.integers(0, 7))
@example(b"\x08\x00\x80\x00\x01", 1, 0)  # an offset before the batch
@example(b"\x0c\x00\x00\x14\x01\x01\x00", 1, 0)  # one behind it
@example(b"\x08\x00\x80\x00\x02", 2, 0)  # one that leaves a gap
def test_garbage_never_raises_and_every_offset_is_accounted_for(payload: bytes, count: int, codec: int) -> None:
    found, after = fetched(around(payload, count, codec, base=5))
    assert after == 5 + count
    assert sorted({each.offset for each in found}) == list(range(5, 5 + count))


@given(
    st.lists(
        st.tuples(
            st.none() | st.binary(max_size=40),
            st.none() | st.binary(max_size=400),
            st.lists(st.tuples(st.binary(max_size=12), st.none() | st.binary(max_size=12)), max_size=4),
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(CODEC_NAMES),
)
def test_any_records_come_in_as_they_were_written(records: Sequence[Raw], codec: str) -> None:
    found, after = fetched(batch(records, codec))
    assert after == len(records)
    assert [
        (each.key, each.value, [(name.encode("utf-8", "surrogateescape"), content) for name, content in each.headers])
        for each in found
    ] == [(key, value, list(headers)) for key, value, headers in records]


def test_malformed_records_inside_a_good_batch_do_not_take_their_neighbours_along() -> None:
    bad = b"\x00\x00\x02" + b"\x7f" * 5
    parts = record(0, b"a", b"1", []) + varint(len(bad)) + bad + record(2, b"c", b"3", [])
    found, after = fetched(packed(parts, 3, "gzip"))
    assert [(each.offset, each.value) for each in found] == [(0, b"1"), (1, None), (2, b"3")]
    assert isinstance(found[1], Withheld)
    assert after == 3


def test_a_record_that_its_topic_takes_only_compressed_goes_out_compressed() -> None:
    limits = Limits({"out": {"max.message.bytes": "5000", "compression.type": "producer"}})
    batches = Batches(0, 5, limits)
    assert limits.fits("out", b"k", b"z" * 20_000, ())
    assert not limits.plain("out", b"k", b"z" * 20_000, ())
    for value in (b"small", b"z" * 20_000, b"small"):
        batches.add("out", b"k", value, [("h", b"x")])
    built = batches.close()["out"]
    assert [count for _, count in built] == [1, 1, 1]
    data = [bytes(builder.build()) for builder, _ in built]
    assert all(len(each) <= 5000 for each in data)
    assert [fetched(each)[0][0].value for each in data] == [b"small", b"z" * 20_000, b"small"]


def holes_of(*batches: bytes, start: int = 0) -> tuple[int, int] | None:
    records = BoundedRecords(PLACE, RawRecords(b"".join(batches)), [], start, None, None, True, fetcher.READ_COMMITTED)
    for _ in records:
        pass
    return records.hole


def test_offsets_that_compaction_took_out_of_a_log_are_noticed() -> None:
    one = record(0, b"p-1", b"{}", ())
    whole = [packed(one, 1, base=number) for number in range(7)]
    assert holes_of(*whole) is None
    assert holes_of(*whole, start=3) is None
    assert holes_of(*whole[:2], *whole[4:]) == (2, 4), "whole batches"
    assert holes_of(*whole[2:], start=1) == (1, 2), "in front of the first one"
    assert holes_of(whole[0], around(one, 1, 0, base=1, last_delta=2), packed(one, 1, base=4)) == (1, 4), "in a batch"
    assert holes_of(whole[0], around(b"", 0, 0, base=1, last_delta=0), *whole[2:]) == (1, 2), "all of a batch"
