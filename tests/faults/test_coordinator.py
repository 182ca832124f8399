"""A broker that does not coordinate the group, not yet or no longer, must not be taken for one that knows no offsets:
everything would be decided once more.

Since KIP-88 such a broker answers with one error for the whole response, and an empty list of topics.
"""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import NotCoordinatorForGroupError
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import TopicPartition

from tests.support.clients import set_offsets
from tests.support.topics import make_topics
from transfer_gate.gate.faust.fetching import FETCH_WAIT_MS
from transfer_gate.kafka.coordinator import Committed
from transfer_gate.kafka.transaction import TransactionalWriter
from transfer_gate.local.cluster import LocalCluster

TOPIC: Final = "prospect-transfers"
GROUP: Final = "gate"
OFFSET: Final = 7


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path_factory.mktemp("cluster"), 3) as started:
        yield started


@pytest.fixture
async def elsewhere(cluster: LocalCluster) -> int:
    """A group that has committed OFFSET; the id of a broker that is not its coordinator, and says so."""
    await make_topics(cluster.bootstrap_servers, {TOPIC: {}}, 1)
    await set_offsets(cluster.bootstrap_servers, GROUP, {TopicPartition(TOPIC, 0): OFFSET})
    client = AIOKafkaClient(bootstrap_servers=cluster.bootstrap_servers)
    await client.bootstrap()
    try:
        coordinator = await client.coordinator_lookup(CoordinationType.GROUP, GROUP)
        other = next(broker.nodeId for broker in client.cluster.brokers() if broker.nodeId != coordinator)
        answer: Any = await client.send(other, OffsetFetchRequest(GROUP, [(TOPIC, [0])]))
    finally:
        await client.close()
    assert (list(answer.topics), answer.error_code) == ([], NotCoordinatorForGroupError.errno)
    return int(other)


async def test_the_writer_of_a_partition_asks_on_until_the_coordinator_answers(
    cluster: LocalCluster, elsewhere: int
) -> None:
    writer = TransactionalWriter({"bootstrap_servers": cluster.bootstrap_servers}, f"{GROUP}-0", GROUP, 10.0)
    try:
        await writer.fence((TOPIC,))
        writer._coordinators[CoordinationType.GROUP] = elsewhere
        assert await writer.committed((TOPIC,), 0) == {TOPIC: Committed(OFFSET, "")}
    finally:
        await writer.close()


async def test_the_consumer_from_which_faust_seeks_asks_on_until_the_coordinator_answers(
    cluster: LocalCluster, elsewhere: int
) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=cluster.bootstrap_servers,
        group_id=GROUP,
        enable_auto_commit=False,
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )
    await consumer.start()
    try:
        await consumer._coordinator.ensure_coordinator_known()
        consumer._coordinator.coordinator_id = elsewhere
        assert await consumer.committed(TopicPartition(TOPIC, 0)) == OFFSET
    finally:
        await consumer.stop()
