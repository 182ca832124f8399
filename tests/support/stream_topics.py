"""Topics made directly, for tests that need no whole installation."""

from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient, NewTopic


async def make_topics(bootstrap_servers: str, topics: Mapping[str, Mapping[str, str]], partitions: int) -> None:
    """Create topics with these settings, on one replica."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(name, partitions, 1, topic_configs=dict(configs)) for name, configs in topics.items()]
        )
    finally:
        await admin.close()
