"""What the gate relies on that Faust 0.15.3 and aiokafka 0.14.0 do, beyond the names in test_hooks.py."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import aiokafka
import faust
import pytest
import pytest_asyncio
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.conn import create_conn
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest
from faust.events import Event
from faust.tables.recovery import Recovery
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP, ChannelT
from faust.types.tuples import Message

from tests.support.clients import open_producer
from tests.support.topics import make_topics
from transfer_gate.errors import GateError
from transfer_gate.gate.assignment import Gate
from transfer_gate.gate.faust import fetching
from transfer_gate.gate.faust.app import build_app
from transfer_gate.gate.faust.fetching import FetchThread
from transfer_gate.gate.faust.hooks import BatchConsumer, ConsentTable, GateApp
from transfer_gate.gate.members import Published
from transfer_gate.gate.memory import LOOK_ALL_BYTES
from transfer_gate.kafka.batches import Batches
from transfer_gate.kafka.unpacking import Look
from transfer_gate.settings import Settings


@pytest.fixture
def thread_loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes the event loops of Faust's threads: a thread that never starts never closes its own."""
    new_event_loop, made = asyncio.new_event_loop, []

    def remembered() -> asyncio.AbstractEventLoop:
        made.append(new_event_loop())
        return made[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", remembered)
    yield
    for loop in made:
        loop.close()


@pytest.fixture
def listener() -> mock.Mock:
    """Takes all that it is given, and holds no partition."""
    made = mock.Mock(spec=Gate)
    made.look.side_effect = lambda: Look({}, LOOK_ALL_BYTES)
    made.restored.return_value = None
    return made


@pytest_asyncio.fixture
async def app(bootstrap_servers: str, tmp_path: Path, thread_loops: None, listener: mock.Mock) -> GateApp:
    """The app of a worker that does not start."""
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        bootstrap_servers=bootstrap_servers,
        app_id="hooks",
        data_dir=tmp_path,
    )
    return build_app(settings, 2, Published("test"), listener)


@pytest.fixture
def thread(app: GateApp) -> FetchThread:
    """Its consumer's thread, not started."""
    consumer = app.consumer
    assert isinstance(consumer, BatchConsumer)
    assert isinstance(consumer._thread, FetchThread)
    return consumer._thread


@pytest_asyncio.fixture
async def consumer(thread: FetchThread, app: GateApp) -> AsyncIterator[AIOKafkaConsumer]:
    """The aiokafka consumer that Faust builds for a worker."""
    built = thread._create_worker_consumer(app.transport)  # type: ignore[arg-type]
    yield built
    await built.stop()


async def test_faust_builds_its_consumer_through_the_module_attribute_that_the_hook_replaces(
    consumer: AIOKafkaConsumer,
) -> None:
    assert type(consumer) is aiokafka.AIOKafkaConsumer
    assert consumer._isolation_level == "read_committed"
    assert consumer._fetch_max_wait_ms == fetching.FETCH_WAIT_MS
    assert consumer._enable_auto_commit is False
    assert consumer._auto_offset_reset == "earliest"


async def test_without_the_hook_faust_would_read_uncommitted(thread: FetchThread, app: GateApp) -> None:
    built = AIOKafkaConsumerThread._create_worker_consumer(thread, app.transport)  # type: ignore[arg-type]
    assert built._isolation_level == "read_uncommitted"
    await built.stop()


async def test_faust_commits_nothing_for_the_topics_of_batches(app: GateApp) -> None:
    app.finalize()
    for name, agent in app.agents.items():
        (topic,) = agent.channel.topics
        assert topic in app.inputs, name
        assert not app.topics.acks_enabled_for(topic), name


async def test_every_agent_has_an_actor_of_its_own_for_each_partition(app: GateApp) -> None:
    assert {name: agent.isolated_partitions for name, agent in app.agents.items()} == {
        "consents": True,
        "replays": True,
        "strays": True,
        "transfers": True,
    }


@pytest.mark.parametrize("generation", [7, 8])
async def test_partitions_are_sought_to_committed_offsets_before_the_rebalance_ends(generation: int) -> None:
    calls = mock.MagicMock()
    consumer = calls.consumer
    consumer.assignment.return_value = {TP("transfers", 0)}
    consumer.perform_seek = mock.AsyncMock()
    app = calls.app
    app.consumer, app.consumer_generation_id = consumer, 7
    app.on_rebalance_complete.send = mock.AsyncMock()
    app._fetcher.maybe_start = mock.AsyncMock()

    async def wait(awaitable: "asyncio.Future[None]", timeout: float) -> None:
        assert timeout > 0
        await awaitable

    recovery = SimpleNamespace(
        app=app,
        log=mock.MagicMock(),
        tables=calls.tables,
        completed=asyncio.Event(),
        actives_for_table={},
        standbys_for_table={},
        _set_recovery_ended=mock.MagicMock(),
        _is_changelog_tp=lambda _: False,
        _wait=wait,
    )
    app.conf.broker_request_timeout = 1.0
    calls.tables.values.return_value = []
    await Recovery.on_recovery_completed(cast(Recovery, recovery), generation)
    names = [name for name, *_ in calls.mock_calls]
    if generation == app.consumer_generation_id:
        assert names.index("consumer.perform_seek") < names.index("consumer.resume_flow")
        assert names.index("consumer.resume_flow") < names.index("app.on_rebalance_end")
    else:
        assert "consumer.perform_seek" not in names
        assert "app.on_rebalance_end" not in names


async def test_a_rebalance_counts_from_its_start_and_lasts_until_its_end(app: GateApp) -> None:
    before = app.rebalancing_count
    app.on_rebalance_start()
    assert (app.rebalancing, app.rebalancing_count) == (True, before + 1)
    app.on_rebalance_end()
    assert (app.rebalancing, app.rebalancing_count) == (False, before + 1)


async def test_streams_skip_messages_of_another_generation(app: GateApp) -> None:
    app.flow_control.resume()
    app.consumer_generation_id = 2
    channel = app.channel()
    stream = app.stream(channel)
    queue = cast(ChannelT[Any], stream.channel).queue
    for generation, value in ((1, "from before the rebalance"), (2, "now"), (None, "made by hand")):
        content: Any = value  # as the hook does, which hands on whole fetches
        message = Message("t", 0, 0, 0.0, 0, [], None, content, None, 0, 0, TP("t", 0), generation_id=generation)
        await queue.put(Event(app, None, value, None, message))
    app.consumer_generation_id = 2
    async for event in stream.events():
        assert event.value == "now"
        break
    assert queue.qsize() == 1
    await stream.stop()


async def test_faust_finds_nothing_to_recover_in_a_slice_that_was_restored(app: GateApp, listener: mock.Mock) -> None:
    (table,) = app.tables.values()
    assert isinstance(table, ConsentTable)
    place = TP(table.changelog_topic.get_topic_name(), 1)
    for restored, offset in ((0, None), (8, 7), (None, None)):  # Faust counts up to the last offset, one below the end
        listener.restored.return_value = restored
        assert table.persisted_offset(place) == offset
    assert {call.args for call in listener.restored.mock_calls} == {(1,)}


async def _abort(producer: AIOKafkaProducer, topic: str, value: bytes) -> None:
    await producer.begin_transaction()
    await producer.send_and_wait(topic, value)
    await producer.abort_transaction()


async def test_a_fetch_tells_the_position_behind_aborted_records_and_markers(
    bootstrap_servers: str, thread: FetchThread
) -> None:
    topic = f"hooks-{uuid.uuid4().hex}"
    await make_topics(bootstrap_servers, {topic: {}}, partitions=1)
    async with open_producer(bootstrap_servers, f"{topic}-writer") as producer:
        await _abort(producer, topic, b"aborted")
        async with producer.transaction():
            await producer.send_and_wait(topic, b"committed")
        await _abort(producer, topic, b"aborted as well")
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await reader.start()
    try:
        place = TP(topic, 0)
        reader.assign([TopicPartition(*place)])
        thread._positions = {}
        read: list[bytes | None] = []
        end = 0
        while end < 6:  # three records, three markers
            fetched = await thread._fetch_records(reader, {place}, timeout=10)
            assert set(fetched) == {place}
            assert fetched[place].end > end, "a position was told twice"
            read += [record.value for record in fetched[place].records]
            end = fetched[place].end
        assert read == [b"committed"]
        assert await thread._fetch_records(reader, {place}, timeout=0.3) == {}
        await asyncio.sleep(0)  # lets the callback of the cancelled waiter run
        assert reader._fetcher._fetch_waiters == set(), "idle looks pile up inside aiokafka"
    finally:
        await reader.stop()


async def test_a_fetch_that_leaves_out_partitions_whose_records_wait_is_not_held_by_the_broker(
    bootstrap_servers: str,
) -> None:
    busy, idle = (f"hooks-{name}-{uuid.uuid4().hex}" for name in ("busy", "idle"))
    await make_topics(bootstrap_servers, {busy: {}, idle: {}}, partitions=1)
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", fetch_max_wait_ms=fetching.FETCH_WAIT_MS
    )
    await reader.start()
    try:
        fetcher = reader._fetcher
        fetching.tune(fetcher)
        tuned = fetcher._get_actions_per_node
        asked: list[tuple[set[str], int]] = []

        def actions(assignment: Any) -> Any:
            found = tuned(assignment)
            asked.extend(({topic for topic, _ in request.topics}, request._max_wait_ms) for _, request in found[0])
            return found

        fetcher._get_actions_per_node = actions
        reader.assign([TopicPartition(busy, 0), TopicPartition(idle, 0)])
        async with open_producer(bootstrap_servers) as producer:
            await producer.send_and_wait(busy, b"waits to be taken")
        async with asyncio.timeout(10):
            while not asked or asked[-1][0] != {idle}:  # noqa: ASYNC110 - aiokafka tells nobody
                await asyncio.sleep(0.01)
        assert asked[0] == ({busy, idle}, fetching.FETCH_WAIT_MS)
        assert asked[-1] == ({idle}, fetching.LEFT_OUT_WAIT_MS)
    finally:
        await reader.stop()


async def test_a_look_brings_what_it_may_and_the_next_one_begins_with_the_other_partitions(
    bootstrap_servers: str, thread: FetchThread, listener: mock.Mock
) -> None:
    topic = f"hooks-{uuid.uuid4().hex}"
    await make_topics(bootstrap_servers, {topic: {}}, partitions=2)
    places = {TP(topic, 0), TP(topic, 1)}
    async with open_producer(bootstrap_servers) as producer:
        for place in places:
            for number in range(3):
                await producer.send(topic, b"%d" % number, partition=place.partition)
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    await reader.start()
    try:
        reader.assign([TopicPartition(*place) for place in places])
        thread._positions = {}
        listener.look.side_effect = lambda: Look({}, 1)
        async with asyncio.timeout(10):
            while len(reader._fetcher._records) < 2:  # noqa: ASYNC110 - aiokafka tells nobody
                await asyncio.sleep(0.01)
        taken: list[tuple[int, list[bytes | None]]] = []
        while len(taken) < 6:
            fetched = await thread._fetch_records(reader, places, timeout=10)
            values = {tp.partition: [record.value for record in fetch.records] for tp, fetch in fetched.items()}
            taken += [(number, found) for number, found in values.items() if found]
        first, second = taken[0][0], taken[1][0]
        assert first != second
        assert taken == [(place, [b"%d" % number]) for number in range(3) for place in (first, second)]
    finally:
        await reader.stop()


@pytest_asyncio.fixture
async def idle_reader(bootstrap_servers: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of one empty partition."""
    topic = f"hooks-{uuid.uuid4().hex}"
    await make_topics(bootstrap_servers, {topic: {}}, partitions=1)
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    await reader.start()
    reader.assign([TopicPartition(topic, 0)])
    yield reader
    await reader.stop()


async def test_what_the_group_refuses_ends_a_look_at_fetched_records(
    idle_reader: AIOKafkaConsumer, thread: FetchThread
) -> None:
    thread._positions = {}
    looking = asyncio.create_task(thread._fetch_records(idle_reader, _places(idle_reader), timeout=60))
    while not idle_reader._fetcher._fetch_waiters and not looking.done():  # noqa: ASYNC110 - aiokafka's own list
        await asyncio.sleep(0)
    idle_reader._subscription.abort_waiters(GroupAuthorizationFailedError("hooks"))
    with pytest.raises(GroupAuthorizationFailedError):
        await asyncio.wait_for(looking, 10)


async def test_what_ends_fetching_inside_aiokafka_ends_a_look_at_fetched_records(
    idle_reader: AIOKafkaConsumer, thread: FetchThread
) -> None:
    thread._positions = {}
    fetcher = idle_reader._fetcher
    running = fetcher._fetch_task
    fetcher._fetch_task = asyncio.get_running_loop().create_future()
    fetcher._fetch_task.set_exception(GroupAuthorizationFailedError("hooks"))
    try:
        with pytest.raises(GroupAuthorizationFailedError):
            await asyncio.wait_for(thread._fetch_records(idle_reader, _places(idle_reader), timeout=60), 10)
    finally:
        fetcher._fetch_task = running


def _places(reader: AIOKafkaConsumer) -> set[TP]:
    return {TP(*place) for place in reader.assignment()}


def test_a_connection_that_was_closed_under_uvloop_is_a_broken_connection_to_aiokafka(bootstrap_servers: str) -> None:
    """uvloop raises RuntimeError where asyncio's own transport raises OSError; aiokafka knows only the latter."""
    host, _, port = bootstrap_servers.partition(":")

    async def write_after_close() -> None:
        connection = await create_conn(host, int(port))
        connection._read_task.cancel()  # else it may notice first
        connection._writer.transport.abort()
        await asyncio.sleep(0.01)  # uvloop closes the handle in a later turn of the loop
        with pytest.raises(KafkaConnectionError, match="is closed"):
            await connection.send(ApiVersionRequest())
        with pytest.raises(KafkaConnectionError, match="No connection"):
            await connection.send(ApiVersionRequest())

    uvloop.run(write_after_close())


def test_a_batch_takes_a_first_record_of_any_size_and_refuses_a_second_that_does_not_fit() -> None:
    batches = Batches(0, 0)
    batches.add("topic", b"key", b"A" * 2_000_000)
    batches.add("topic", b"key", b"small")
    assert [count for _, count in batches.close()["topic"]] == [1, 1]


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(("reason", "logged"), [(GateError("told"), False), (ValueError("a defect"), True)])
async def test_faust_logs_a_traceback_only_of_what_the_worker_does_not_tell_its_user(
    app: GateApp, caplog: pytest.LogCaptureFixture, reason: Exception, logged: bool
) -> None:
    with caplog.at_level(logging.ERROR):
        try:
            _raise(reason)
        except Exception as error:  # noqa: BLE001 - as the gate does
            await app.crash(error)
    assert ("Crashed reason" in caplog.text) is logged
    assert app.crash_reason is reason


def test_a_thread_that_ended_with_a_crash_can_be_stopped_once_more(thread: FetchThread) -> None:
    """Faust does so, and would log a traceback beside the message for the user."""
    thread.thread_loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        AIOKafkaConsumerThread._stopped_set(thread)
    thread._stopped_set()


async def test_a_stop_amidst_a_rebalance_ends_it(app: GateApp) -> None:
    """Faust restarts a fetcher that is cancelled while it lasts, and logs tracebacks because nothing does."""
    app.rebalancing = True
    await app._stop_consumer()
    assert app.rebalancing is False


def test_faust_is_the_library_of_the_app() -> None:
    assert issubclass(GateApp, faust.App)
