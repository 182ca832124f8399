"""Several produce requests of a round are in flight at once: whatever gets lost on the way, a topic's batches stay in
order, and no request grows with the number of partners."""

import time

from tests.conftest import Namespace
from tests.support.clients import read_all
from tests.support.topics import make_topics
from transfer_gate.kafka.batches import Batches
from transfer_gate.kafka.produce import REQUEST_BYTES, Chunk, requests_of
from transfer_gate.kafka.transaction import TransactionalWriter


def output(topic: str, value: bytes) -> Batches:
    batches = Batches(0, int(time.time() * 1000))
    batches.add(topic, b"p-1", value)
    return batches


async def test_a_batch_that_overtook_the_one_before_it_is_sent_again_behind_it(
    bootstrap_servers: str, namespace: Namespace
) -> None:
    topic = f"{namespace.topic_prefix}decisions"
    await make_topics(bootstrap_servers, {topic: {}}, 1)
    writer = TransactionalWriter({"bootstrap_servers": bootstrap_servers}, namespace.app_id, namespace.app_id, 10.0)
    try:
        await writer.fence((topic,))
        await writer.produce(output(topic, b"0"))
        await writer.commit(0, {})
        await writer._add_partitions([topic], 0)
        (first,), (second,) = writer._chunks(output(topic, b"1")), writer._chunks(output(topic, b"2"))
        assert await writer._produce_once(second) == second
        assert await writer._produce_once(first) == []
        assert await writer._produce_once(second) == []
        await writer._end()
    finally:
        await writer.close()
    assert [record.value async for record in read_all(bootstrap_servers, [topic], 1)] == [b"0", b"1", b"2"]


def chunk(topic: str, number: int, size: int) -> Chunk:
    return Chunk(topic, 0, bytes([number]) * size, 1)


def test_requests_are_bounded_by_bytes_hold_one_batch_of_a_topic_and_keep_its_order() -> None:
    topics = [f"partner.{number}" for number in range(250)]
    chunks = [[chunk(topic, number, 900_000) for number in range(3)] for topic in topics]
    chunks.append([chunk("quarantine", 0, 2 * REQUEST_BYTES), chunk("quarantine", 1, 10)])
    requests = requests_of(chunks)
    sent: dict[str, list[int]] = {}
    for request in requests:
        assert len({one.topic for one in request}) == len(request)
        assert len(request) == 1 or sum(len(one.data) for one in request) <= REQUEST_BYTES
        for one in request:
            sent.setdefault(one.topic, []).append(one.data[0])
    assert sent == {**{topic: [0, 1, 2] for topic in topics}, "quarantine": [0, 1]}


def test_a_small_round_is_one_request() -> None:
    assert len(requests_of([[chunk(f"partner.{number}", 0, 1_000)] for number in range(50)])) == 1
    assert requests_of([]) == []
