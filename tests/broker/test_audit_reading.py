"""The auditor's consumer, which is turned from partition to partition."""

import asyncio

from aiokafka import TopicPartition

from tests.support.faults_clients import open_producer
from tests.support.stream_topics import make_topics
from transfer_gate.audit.reading import Reader, Span
from transfer_gate.settings import Settings


async def test_a_reader_ends_however_shortly_before_it_was_turned_elsewhere(settings: Settings) -> None:
    """aiokafka's fetcher misses a cancellation that comes while it gives up an assignment; `stop` waited for ever."""
    topic = settings.topics.decisions
    await make_topics(settings.bootstrap_servers, {topic: {}}, partitions=2)
    async with open_producer(settings.bootstrap_servers) as producer:
        for number in range(2):
            await producer.send_and_wait(topic, b"{}", b"p-1", partition=number)
    first, second = (TopicPartition(topic, number) for number in range(2))
    for turns in range(6):  # of the loop, between the new assignment and the end
        reader = Reader(settings)
        await reader.start()
        reader.turn_to({first: Span(0, 1)})
        assert len(await reader.more(first)) == 1
        reader.turn_to({second: Span(0, 1)})
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await reader.stop()
