"""Topics made and damaged directly, for tests that need no whole installation, or that take something away from one."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code
from aiokafka.protocol.admin import DeleteGroupsRequest

#: How long the broker may take to be done with a topic that is deleted, seconds.
_PATIENCE = 30.0


@asynccontextmanager
async def admin_of(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def make_topics(bootstrap_servers: str, topics: Mapping[str, Mapping[str, str]], partitions: int) -> None:
    """Create topics with these settings, on one replica."""
    async with admin_of(bootstrap_servers) as admin:
        await admin.create_topics(
            [NewTopic(name, partitions, 1, topic_configs=dict(configs)) for name, configs in topics.items()]
        )


async def remake_topic(bootstrap_servers: str, topic: str, partitions: int, configs: Mapping[str, str]) -> None:
    """Delete a topic with all its records and create it anew, empty."""
    deadline = time.monotonic() + _PATIENCE
    async with admin_of(bootstrap_servers) as admin:
        await admin.delete_topics([topic])
        while True:
            made = await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=dict(configs))])
            ((_, code, *_),) = made.topic_errors
            if code == 0:
                return
            assert for_code(code) is TopicAlreadyExistsError, for_code(code)
            assert time.monotonic() < deadline, f"{topic} is never deleted"
            await asyncio.sleep(0.02)


async def delete_records(bootstrap_servers: str, topic: str, partition: int, before: int) -> None:
    """Delete all records below an offset, as retention does; the topic's clean-up policy must allow it."""
    async with admin_of(bootstrap_servers) as admin:
        place = TopicPartition(topic, partition)
        await admin.delete_records({place: RecordsToDelete(before)})


async def delete_group(bootstrap_servers: str, group: str) -> None:
    """Make the brokers forget a group and its offsets, as after `offsets.retention.minutes` of standing still."""
    async with admin_of(bootstrap_servers) as admin:
        coordinator = await admin.find_coordinator(group)
        answer = await admin._send_request(DeleteGroupsRequest([group]), coordinator)
        assert [code for _, code in answer.results] == [0], answer


async def configure_topic(bootstrap_servers: str, topic: str, configs: Mapping[str, str]) -> None:
    """Give a topic these settings; its others become the broker's."""
    async with admin_of(bootstrap_servers) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, dict(configs))])


async def configure_broker(bootstrap_servers: str, configs: Mapping[str, str]) -> None:
    """Give all brokers these settings while they run; others that were set so become those of their files."""
    async with admin_of(bootstrap_servers) as admin:
        nodes = [str(broker["node_id"]) for broker in (await admin.describe_cluster())["brokers"]]
        await admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, node, dict(configs)) for node in nodes])
