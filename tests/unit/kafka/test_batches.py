"""Records of a round come out of their batches as they went in: each once, in order, whatever each needs."""

from aiokafka.consumer import fetcher
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from transfer_gate.kafka.batches import Batches
from transfer_gate.kafka.sizes import Limits
from transfer_gate.kafka.unpacking import BoundedRecords, RawRecords

LIMITS = Limits({topic: {"max.message.bytes": str(size)} for topic, size in {"small": 300, "large": 3000}.items()})
# Some are larger than their topic takes uncompressed; some have header names that aiokafka's builder refuses.
RECORDS = st.tuples(
    st.sampled_from(["small", "large", "unknown"]),
    st.none() | st.binary(max_size=20),
    st.none() | st.integers(0, 4000).map(lambda size: b"z" * size),
    st.lists(st.tuples(st.sampled_from(["h", "é", "\udcff"]), st.none() | st.binary(max_size=20)), max_size=3),
)


@given(st.lists(RECORDS, max_size=30), st.booleans())
def test_every_record_comes_out_once_and_in_order(
    records: list[tuple[str, bytes | None, bytes | None, list[tuple[str, bytes | None]]]], as_tuples: bool
) -> None:
    batches = Batches(0, 5, LIMITS)
    for topic, key, value, headers in records:
        batches.add(topic, key, value, tuple(headers) if as_tuples else headers)
    built = batches.close()
    assert batches.records == len(records) == sum(count for of_topic in built.values() for _, count in of_topic)
    assert batches.size() >= sum(builder.size() for of_topic in built.values() for builder, _ in of_topic)
    assert set(built) == set(batches.topics()) == {record[0] for record in records}
    for topic, of_topic in built.items():
        found = []
        for builder, count in of_topic:
            data, place = RawRecords(bytes(builder.build())), TopicPartition(topic, 0)
            some = list(BoundedRecords(place, data, [], 0, None, None, True, fetcher.READ_COMMITTED))
            assert len(some) == count
            found += [(each.key, each.value, list(each.headers)) for each in some]
        assert found == [record[1:] for record in records if record[0] == topic]
