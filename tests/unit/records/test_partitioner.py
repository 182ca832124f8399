"""Where a key belongs: the answer of Kafka's own partitioner and of librdkafka's, bit by bit."""

from typing import Final

import pytest
from aiokafka.partitioner import murmur2 as of_aiokafka
from hypothesis import given
from hypothesis import strategies as st

from transfer_gate.records.partitioner import ANYWHERE, Placement, murmur2

#: Of `UtilsTest.testMurmur2` of Apache Kafka, as signed numbers of 32 bits.
OF_KAFKA: Final = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "signed"), OF_KAFKA.items())
def test_murmur2_is_that_of_kafka(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed % 2**32


@given(st.binary(max_size=600))
def test_murmur2_is_that_of_aiokafka(key: bytes) -> None:
    assert murmur2(key) == of_aiokafka(key)


def test_crc32_is_that_of_librdkafka() -> None:
    """`consistent_random`: crc32 of the key; without a key, or with an empty one, anywhere."""
    placement = Placement("crc32", 1000)
    assert placement.home(b"123456789") == 0xCBF43926 % 1000
    assert placement.home(b"") is None
    assert placement.home(None) is None


def test_a_key_has_one_home_and_a_record_without_key_none() -> None:
    placement = Placement("murmur2", 4)
    assert placement.home(b"foobar") == (-790332482 & 0x7FFFFFFF) % 4
    assert [placement.misplaced(b"foobar", number) for number in range(4)].count(False) == 1
    assert not any(placement.misplaced(None, number) for number in range(4))


def test_without_a_count_every_key_is_at_home() -> None:
    assert not ANYWHERE.misplaced(b"foobar", 3)
