"""A record is never larger than what is said of its size, and the quick answer never says less than the exact one."""

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from transfer_gate.kafka.sizes import BATCH_OVERHEAD, Limits, at_most, header_bytes, size_of

SOME_BYTES = st.none() | st.binary(max_size=200)
# Names that aiokafka's builder takes; others travel alone, in a batch of ours.
HEADERS = st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=40), SOME_BYTES), max_size=20)


@given(SOME_BYTES, SOME_BYTES, HEADERS)
def test_a_batch_of_one_record_is_not_larger_than_its_size_says(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    builder = DefaultRecordBatchBuilder(
        2, 0, is_transactional=1, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=1
    )
    builder.append(0, 1_800_000_000_000, key, value, headers)
    exact = size_of(key, value, headers)
    assert len(builder.build()) <= BATCH_OVERHEAD + exact
    assert exact <= at_most(key, value, headers)
    assert header_bytes(headers) < exact


@given(SOME_BYTES, SOME_BYTES, HEADERS, st.integers(100, 4000))
def test_what_is_let_pass_at_once_fits_every_topic(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], least: int
) -> None:
    configs = {"partner.a": {"max.message.bytes": str(least)}, "partner.b": {"max.message.bytes": str(least + 500)}}
    limits = Limits(configs)
    if BATCH_OVERHEAD + at_most(key, value, headers) <= limits.least:
        assert all(limits.plain(topic, key, value, headers) for topic in (*configs, "partner.c"))
