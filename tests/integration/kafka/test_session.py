"""One session with the cluster: what its reader returns, and how few connections it takes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from tests.support.topics import make_topics
from transfer_gate.errors import BrokerUnavailable
from transfer_gate.kafka.session import Session, open_session
from transfer_gate.settings import Settings

TOPIC = "session"
#: Records 0 to 4, their commit; 6 and 7, aborted; 9 and 10, committed.
COMMITTED = [0, 1, 2, 3, 4, 9, 10]


@pytest.fixture
async def session(settings: Settings) -> AsyncIterator[Session]:
    async with open_session(settings) as opened:
        yield opened


async def write(settings: Settings, topic: str) -> TopicPartition:
    """Committed and aborted records in partition 0 of a new topic of two partitions."""
    await make_topics(settings.bootstrap_servers, {topic: {}}, partitions=2)
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, transactional_id=topic)
    await producer.start()
    try:
        for count, outcome in ((5, "commit"), (2, "abort"), (2, "commit")):
            await producer.begin_transaction()
            for number in range(count):
                await producer.send_and_wait(topic, b"%d" % number, partition=0)
            await (producer.commit_transaction if outcome == "commit" else producer.abort_transaction)()
    finally:
        await producer.stop()
    return TopicPartition(topic, 0)


async def test_a_read_of_nothing_leaves_a_consumer_that_reads(session: Session) -> None:
    """Consumers are used again, and aiokafka's end for good where one is unsubscribed right after it was assigned."""
    place, reader = await write(session.settings, session.settings.topic_prefix + "nothing"), session.reader
    for _ in range(3):
        assert [records async for records in reader.records({place: 4}, {place: 4})] == []
        await reader.bounds({place.topic: 2}, committed_only=True)  # the fetcher has its turn
    read = [record.offset async for records in reader.records({place: 12}) for record in records]
    assert read == COMMITTED


async def test_a_session_reads_ranges_picks_records_and_follows(session: Session) -> None:
    """Reads within each other, and one that is given up, included; every consumer is used again."""
    topic = session.settings.topic_prefix + TOPIC
    place, reader = await write(session.settings, topic), session.reader
    other = TopicPartition(topic, 1)

    begins, ends = await reader.bounds({topic: 2}, committed_only=True)
    assert (begins[place], ends[place], ends[other]) == (0, 12, 0)
    outer: list[int] = []
    async for records in reader.records(ends):
        outer += [record.offset for record in records]
        within = [record.offset async for some in reader.records({place: 10}, {place: 4}) for record in some]
        assert within == [4, 9]
    assert outer == COMMITTED

    async with contextlib.aclosing(reader.records(ends)) as given_up:
        async for _ in given_up:
            break
    picked = [found async for found in reader.pick({place: [7, 10, 0, 5, 99], other: [0]})]
    assert [record.offset for found in picked for record in found.records] == [0, 10]
    assert sorted((found.place.partition, offset) for found in picked for offset in found.missing) == [
        (0, 5), (0, 7), (0, 99), (1, 0),
    ]  # fmt: skip
    assert [record is None for record in [await reader.record_at(place, offset) for offset in (4, 6)]] == [False, True]
    async with reader.follow({topic: 2}) as follower:
        so_far = [record.offset async for records in follower.so_far() for record in records]
        assert so_far == COMMITTED
        assert await session.producer.write(topic, 1, None, b"new") == 1
        while not (new := await follower.more()):
            pass
    assert [(record.partition, record.offset) for record in new] == [(1, 0)]
    # Two at a time read ranges, one picks, and none asks for what is not committed.
    assert len(reader._started) == 3


async def test_a_read_that_is_interrupted_leaves_its_consumer_to_the_next(session: Session) -> None:
    """The transaction that it waited for never ends."""
    topic = session.settings.topic_prefix + TOPIC
    place = await write(session.settings, topic)

    async def read_on() -> None:
        async for _ in session.reader.records({place: 100}):
            pass

    reading = asyncio.create_task(read_on())
    while not session.reader._started or session.reader._started[0].assignment() != {place}:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    read = [record.offset async for records in session.reader.records({place: 12}) for record in records]
    assert (read, len(session.reader._started)) == (COMMITTED, 1)


async def test_an_error_of_a_reader_is_that_of_the_cluster_and_one_of_its_user_is_not(session: Session) -> None:
    """A broken pipe behind a listing is a ConnectionError as one to a broker is."""
    topic = session.settings.topic_prefix + TOPIC
    await write(session.settings, topic)

    async def list_into_a_closed_pipe() -> None:
        async with session.reader.follow({topic: 2}) as follower:
            async for _ in follower.so_far():
                raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await list_into_a_closed_pipe()
    nowhere = session.settings.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    async with open_session(nowhere) as absent:
        for call in (
            absent.cluster.topics(),
            absent.reader.bounds({topic: 1}, committed_only=True),
            absent.producer.write(topic, 0, None, b""),
        ):
            with pytest.raises(BrokerUnavailable, match="connection refused"):
                await call
