"""The auditor's consumer, which is turned from partition to partition."""

import asyncio
import contextlib

from aiokafka import TopicPartition

from tests.support.clients import open_producer
from tests.support.topics import make_topics
from transfer_gate.kafka.spans import Span, SpanReader
from transfer_gate.settings import Settings


async def swallows_a_cancellation() -> None:
    """As the fetcher of aiokafka does with one that comes while it ends the tasks of an assignment."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()


async def test_a_reader_ends_although_its_fetcher_swallows_a_cancellation(settings: Settings) -> None:
    """`stop` of aiokafka cancels the fetcher once, and waits for it for ever: an audit that was through hung so."""
    topic = settings.topics.decisions
    await make_topics(settings.bootstrap_servers, {topic: {}}, partitions=1)
    async with open_producer(settings.bootstrap_servers) as producer:
        await producer.send_and_wait(topic, b"{}", b"p-1", partition=0)
    place, reader = TopicPartition(topic, 0), SpanReader(settings)
    await reader.start()
    reader.turn_to({place: Span(0, 1)})
    assert len(await reader.more(place)) == 1
    fetcher = reader._consumer._fetcher
    fetcher._fetch_task.cancel()
    fetcher._fetch_task = asyncio.create_task(swallows_a_cancellation())
    await asyncio.sleep(0)
    stopping = asyncio.create_task(reader.stop())
    done, _ = await asyncio.wait({stopping}, timeout=30)  # no `asyncio.timeout`: its cancellation would end the wait
    assert done
