"""What waits is counted with keys and headers, what one round takes is bounded by bytes, and nothing goes backwards."""

from typing import Final

import pytest

from transfer_gate.gate import inbox
from transfer_gate.gate.inbox import Fetched, Inbox, Reached, Record

MIB: Final = 1 << 20


def record(offset: int, header: bytes) -> Record:
    return Record(
        topic="transfers",
        partition=0,
        offset=offset,
        timestamp=1,
        timestamp_type=0,
        key=b"p-1",
        value=b"{}",
        checksum=None,
        serialized_key_size=3,
        serialized_value_size=2,
        headers=(("h", header),),
    )


def test_headers_fill_an_inbox() -> None:
    queue = Inbox(1000)
    header = bytes(MIB)
    queue.put(Fetched.of([record(offset, header) for offset in range(60)], 60))
    assert queue.full


def test_one_fetch_of_large_headers_is_taken_in_several_rounds_in_order() -> None:
    queue, header = Inbox(1000), bytes(MIB)
    queue.put(Fetched.of([record(offset, header) for offset in range(20)], 25))
    offsets: list[int] = []
    while taken := queue.take(1000):
        records, end = taken.records, taken.end
        assert 0 < len(records) * MIB <= inbox.ROUND_BYTES
        offsets += [taken_record.offset for taken_record in records]
        assert end == (25 if len(offsets) == 20 else len(offsets))
    assert offsets == list(range(20))
    assert not queue.full
    assert queue.waiting == 0


def test_one_record_larger_than_a_round_is_taken_alone() -> None:
    queue = Inbox(1000)
    queue.put(Fetched.of([record(0, bytes(9 * MIB)), record(1, b"")], 2))
    taken = queue.take(1000)
    assert taken is not None
    assert ([each.offset for each in taken.records], taken.end) == ([0], 1)


def test_what_is_put_back_comes_first_and_ends_where_it_ended() -> None:
    queue = Inbox(1000)
    queue.put(Fetched.of([record(offset, b"") for offset in range(4)], 6))
    taken = queue.take(3)
    assert taken is not None
    queue.put_back(taken.split(1)[1])
    assert queue.waiting == 3
    again = queue.take(2)
    assert again is not None
    assert ([each.offset for each in again.records], again.end) == ([1, 2], 3)
    last = queue.take(9)
    assert last is not None
    assert (last.records, last.end) == ([record(3, b"")], 6)


def test_an_inbox_knows_the_epoch_before_each_offset_that_is_done_with() -> None:
    inbox = Inbox(10)
    inbox.put(Fetched.of([], 20, (Reached(4, 8), Reached(5, 20))))
    inbox.put(Fetched.of([], 25, (Reached(5, 22), Reached(7, 25))))
    assert [inbox.epoch_before(offset) for offset in (3, 8, 9, 22, 23, 25, 26)] == [4, 4, 5, 5, 7, 7, -1]
    assert inbox.reached == [Reached(7, 25)]


def test_an_epoch_that_goes_backwards_is_refused() -> None:
    inbox = Inbox(10, 20, 5)
    with pytest.raises(ValueError, match="leader epoch 4 came behind one of 5"):
        inbox.put(Fetched.of([], 25, (Reached(4, 25),)))
