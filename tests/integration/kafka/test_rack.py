"""`CLIENT_RACK`: what is read in bulk comes from the replica of the rack, whole and up to the end of its leader
(KIP-392).

Three brokers, each in a rack of its own.
"""

import asyncio
import os
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pytest
import pytest_asyncio
from aiokafka.admin import NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from msgspec import Struct

from tests.conftest import Namespace
from tests.support.clients import open_producer
from tests.support.disks import spoil
from tests.support.feeds import ListFeed
from tests.support.stream_gate import open_gate
from tests.support.topics import admin_of
from transfer_gate.gate.table import MemorySlice, restore
from transfer_gate.gate.worker import Worker
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.clients import client_options
from transfer_gate.kafka.log_reader import open_log_reader
from transfer_gate.kafka.session import open_session
from transfer_gate.kafka.spans import Span, SpanReader
from transfer_gate.local.cluster import LocalCluster
from transfer_gate.records.commit_notes import Reach
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings, load_settings

PATIENCE: Final = 60.0
KEYS: Final = 400
#: So many that a log takes several fetches of the least size.
VALUE: Final = b"v" * 4000
FETCH_BYTES: Final = 64 << 10


class Log(Struct):
    """A log of one partition: who leads it, who follows, and what a restore of it has to find."""

    topic: str
    leader: int
    follower: int
    states: dict[bytes, bytes]

    @property
    def place(self) -> TopicPartition:
        return TopicPartition(self.topic, 0)

    @property
    def rack(self) -> str:
        """That of the follower."""
        return f"rack-{self.follower}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path_factory.mktemp("racks"), 3) as started:
        yield started


@pytest_asyncio.fixture
async def log(cluster: LocalCluster, namespace: Namespace) -> Log:
    """Written in transactions, as a changelog is: some are aborted, and a marker stands at the end."""
    topic = f"{namespace.topic_prefix}changelog"
    async with admin_of(cluster.bootstrap_servers) as admin:
        await admin.create_topics([NewTopic(topic, 1, 3, topic_configs={"cleanup.policy": "compact"})])
    states = {}
    async with open_producer(cluster.bootstrap_servers, f"{topic}-0") as producer:
        for number in range(4):
            await producer.begin_transaction()
            for key in range(KEYS):
                await producer.send(topic, VALUE + b"%d" % number, key=b"p-%d" % key, partition=0)
            if number % 2:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()
                states = {b"p-%d" % key: VALUE + b"%d" % number for key in range(KEYS)}
    partition = await in_step(cluster, topic)
    followers = [node for node in partition["replicas"] if node != partition["leader"]]
    return Log(topic, partition["leader"], followers[0], states)


async def in_step(cluster: LocalCluster, topic: str, copies: int = 3) -> dict[str, Any]:
    """The one partition of a topic, once so many replicas are in sync."""
    deadline = time.monotonic() + PATIENCE
    while True:
        async with admin_of(cluster.bootstrap_servers) as admin:
            (described,) = await admin.describe_topics([topic])
        partitions: list[dict[str, Any]] = described["partitions"]
        if partitions and len(partitions[0]["isr"]) >= copies and partitions[0]["leader"] >= 0:
            return partitions[0]
        assert time.monotonic() < deadline, f"replicas are not in sync: {partitions}"
        await asyncio.sleep(0.1)


class Asked(Struct):
    """Which nodes gave how many bytes of records, and which were asked where logs begin and end."""

    gave: Counter[int]
    bounds: Counter[int]
    #: As `gave`, by topic.
    topics: defaultdict[str, Counter[int]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    seen, send = Asked(Counter(), Counter(), defaultdict(Counter)), AIOKafkaClient.send

    async def noted(self: AIOKafkaClient, node: int, request: Any, **how: Any) -> Any:
        response = await send(self, node, request, **how)
        if isinstance(request, FetchRequest):
            for topic, parts in response.topics:
                size = sum(len(part[-1] or b"") for part in parts)
                seen.gave[node] += size
                seen.topics[topic][node] += size
        elif isinstance(request, OffsetRequest):
            seen.bounds[node] += 1
        return response

    monkeypatch.setattr(AIOKafkaClient, "send", noted)
    return seen


def settings_of(cluster: LocalCluster, rack: str | None) -> Settings:
    return Settings(_env_file=None, bootstrap_servers=cluster.bootstrap_servers, client_rack=rack)  # type: ignore[call-arg]


async def restored(cluster: LocalCluster, log: Log, rack: str | None) -> MemorySlice:
    """A table that was restored from the log."""
    table, options = MemorySlice(), client_options(settings_of(cluster, rack))
    await restore(options, log.topic, {0: table}, {0: Reach(0, "now")}, rack=rack)
    return table


@pytest.mark.parametrize("named", [True, False], ids=["with a rack", "without"])
async def test_a_restore_reads_the_replica_of_its_rack_whole(
    cluster: LocalCluster, log: Log, asked: Asked, named: bool
) -> None:
    """Up to the leader's end. Without the setting every record comes from the leader."""
    table = await restored(cluster, log, log.rack if named else None)
    assert dict(table.items()) == log.states
    assert set(+asked.gave) == {log.follower if named else log.leader}
    assert set(asked.bounds) == {log.leader}, "only the leader knows where the log ends"
    async with open_log_reader(client_options(settings_of(cluster, None)), FETCH_BYTES) as reader:
        _, ends = await reader.bounds([log.place])
    assert table.position == ends[log.place]


async def test_commands_and_the_auditor_read_the_replica_of_their_rack(
    cluster: LocalCluster, log: Log, asked: Asked
) -> None:
    """The session's reader, from the beginning and by offset, and the reader of spans."""
    settings = settings_of(cluster, log.rack)
    async with open_session(settings) as session:
        begins, ends = await session.reader.bounds({log.topic: 1}, committed_only=True)
        records = [record async for some in session.reader.records(ends) for record in some]
        picked = await session.reader.record_at(log.place, records[7].offset)
    assert {record.key: record.value for record in records} == log.states
    assert len(records) == 2 * KEYS
    assert picked is not None
    assert picked.value == records[7].value
    spans = SpanReader(settings)
    await spans.start()
    try:
        spans.turn_to({log.place: Span(begins[log.place], ends[log.place])})
        read = [record async for record in all_of(spans, log.place)]
    finally:
        await spans.stop()
    assert [record.offset for record in read] == [record.offset for record in records]
    assert set(+asked.gave) == {log.follower}
    assert set(asked.bounds) == {log.leader}


async def all_of(spans: SpanReader, place: TopicPartition) -> AsyncIterator[Any]:
    while records := await spans.more(place):
        for record in records:
            yield record


async def test_a_worker_restores_from_the_replica_of_its_rack(
    cluster: LocalCluster, asked: Asked, tmp_path: Path
) -> None:
    """Its table is the one that the worker before it had committed."""
    async with open_gate(cluster.bootstrap_servers, tmp_path, partitions=1) as gate:
        for number in range(20):
            await gate.consent(f"p-{number}")
        await gate.settled()
        gate.worker.kill()
        partition = await in_step(cluster, gate.topics.changelog)
        follower = next(node for node in partition["replicas"] if node != partition["leader"])
        gate.place._environment["TRANSFER_GATE_CLIENT_RACK"] = f"rack-{follower}"
        with mock.patch.dict(os.environ, gate.place._environment):
            settings = load_settings(None)
        worker = Worker(settings, load_registry(settings.registry), 1, ListFeed())
        await worker.start()
        try:
            assert await worker.gate.open({0}) is True
            restored = {key for key, _ in worker.gate.partitions[0]._tables.consent.items()}
        finally:
            await worker.close()
    assert restored == {b"p-%d" % number for number in range(20)}
    assert set(+asked.topics[gate.topics.changelog]) == {follower}


async def test_a_reader_whose_replica_dies_goes_on_at_the_leader(cluster: LocalCluster, log: Log, asked: Asked) -> None:
    """And lacks nothing, and gets nothing twice."""
    victim = cluster.brokers[log.follower - 1]
    read: list[Any] = []
    options = client_options(settings_of(cluster, log.rack))
    try:
        async with open_log_reader(options, FETCH_BYTES, log.rack) as reader:
            begins, ends = await reader.bounds([log.place])
            async for _, records, _ in reader.read(begins, ends):
                if not read:
                    assert set(+asked.gave) == {log.follower}
                    await asyncio.to_thread(victim.kill)
                read += records
    finally:
        await asyncio.to_thread(victim.start)
    await in_step(cluster, log.topic)
    assert len({record.offset for record in read}) == len(read) == 2 * KEYS
    assert {record.key: record.value for record in read} == log.states
    assert asked.gave[log.follower] > 0
    assert sum(asked.gave.values()) > asked.gave[log.follower], "all had come before the broker died"


async def test_what_the_disk_of_the_replica_has_spoilt_is_read_from_the_leader(
    cluster: LocalCluster, log: Log, asked: Asked
) -> None:
    """Every broker has a disk of its own, and answers for nobody else's."""
    await asyncio.to_thread(spoil, cluster.brokers[log.follower - 1], log.topic, log.states[b"p-1"])
    await in_step(cluster, log.topic)
    table = await restored(cluster, log, log.rack)
    assert dict(table.items()) == log.states
    assert asked.gave[log.follower] > 0
    assert sum(asked.gave.values()) > asked.gave[log.follower]
