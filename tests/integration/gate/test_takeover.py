"""What a take-over compares before a partition may decide: the notes that commits left beside the group's offsets."""

import asyncio
import datetime as dt
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from tests.support.clients import open_producer, set_offsets
from tests.support.feeds import ListFeed
from tests.support.registry import write_registry
from tests.support.replay_operator import Operator
from tests.support.stream_gate import open_gate
from tests.support.topics import configure_topic, delete_group, make_topics, remake_topic
from tests.support.workers import Installation
from transfer_gate.doctor import examine
from transfer_gate.errors import GateError
from transfer_gate.gate.assignment import Gate
from transfer_gate.gate.integrity import identity as policies
from transfer_gate.gate.integrity.commit_note import read_note
from transfer_gate.gate.integrity.identity import Compacted, PartitionsChanged, RegistryOlder
from transfer_gate.gate.integrity.logs import HistoryLost
from transfer_gate.gate.integrity.offsets import OffsetsLost
from transfer_gate.gate.members import GroupShared
from transfer_gate.gate.worker import Worker
from transfer_gate.kafka.coordinator import Committed
from transfer_gate.model.topics import Topics
from transfer_gate.records.commit_notes import CommitNote, LogIdentity
from transfer_gate.records.state import STATE_FORMAT, StateTooNew
from transfer_gate.registry import load_registry
from transfer_gate.settings import load_settings

NEWER = "2999-01-01T00:00:00.000000+00:00/other"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """Topics of two partitions; what the group has committed in them is each test's own."""
    folder = tmp_path_factory.mktemp("takeover")
    registry = write_registry(folder / "registry", dt.datetime.now(dt.UTC))
    made = Installation(bootstrap_servers, registry, folder, partitions=2)
    await asyncio.to_thread(made.apply_topics)
    yield made
    made.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def owner(
    place: Installation, feed: ListFeed | None = None, *, allow_older_registry: bool = False
) -> AsyncIterator[Gate]:
    """A gate in this process, that is given partitions by hand."""
    with mock.patch.dict(os.environ, place._environment):
        settings = load_settings(None)
    worker = Worker(
        settings,
        load_registry(settings.registry),
        2,
        ListFeed() if feed is None else feed,
        allow_older_registry=allow_older_registry,
    )
    await worker.start()
    try:
        yield worker.gate
    finally:
        await worker.close()


async def note(place: Installation, partition: int, note: CommitNote | None) -> None:
    """Have the group committed nothing of the consents of a partition but offset 0, with this note beside it."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=place.bootstrap_servers, group_id=place.app_id, enable_auto_commit=False
    )
    await consumer.start()
    try:
        where = TopicPartition(place.topics.consents, partition)
        consumer.assign([where])
        await consumer.commit({where: OffsetAndMetadata(0, "" if note is None else str(note))})
    finally:
        await consumer.stop()


async def noted(place: Installation, partition: int) -> CommitNote | None:
    """What stands beside the offset of consents."""
    consumer = AIOKafkaConsumer(bootstrap_servers=place.bootstrap_servers, group_id=place.app_id)
    await consumer.start()
    try:
        where = TopicPartition(place.topics.consents, partition)
        found: Any = await consumer._coordinator.fetch_committed_offsets([where])
        return read_note(Committed(found[where].offset, found[where].metadata))
    finally:
        await consumer.stop()


async def test_a_worker_that_is_given_only_partitions_without_a_note_meets_the_count_of_the_others(
    place: Installation,
) -> None:
    """Topics that grew: the new partitions have no note, and their prospects' withdrawals stand in the old ones."""
    await note(place, 0, CommitNote("a", partitions=1))
    await note(place, 1, None)
    async with owner(place) as gate:
        with pytest.raises(PartitionsChanged, match="under 1 partitions, and the topics have 2 now"):
            await gate.open({1})


async def test_a_newer_registry_that_decided_in_another_partition_refuses_this_one(place: Installation) -> None:
    await note(place, 0, CommitNote("a", partitions=2, registry=NEWER))
    await note(place, 1, CommitNote("b", partitions=2))
    async with owner(place) as gate:
        await gate.open({1})
        assert stopped(gate) == {1: RegistryOlder}


async def test_another_registry_of_the_same_published_at_refuses_this_one(place: Installation) -> None:
    """Nobody can tell which of them came first."""
    async with owner(place) as gate:
        published = gate._shared.book.registry_order.partition("/")[0]
        for number in range(2):
            await note(place, number, CommitNote(str(number), partitions=2, registry=f"{published}/other"))
        await gate.open({0})
        assert stopped(gate) == {0: RegistryOlder}
        assert "published at the same time as" in str(gate.stopped[0])


async def test_a_rollback_is_noted_at_once_and_needs_permission_no_second_time(place: Installation) -> None:
    for number in range(2):
        await note(place, number, CommitNote(str(number), partitions=2, registry=NEWER))
    async with owner(place, allow_older_registry=True) as gate:
        assert await gate.open({0, 1})
        assert stopped(gate) == {}
    for number in range(2):
        found = await noted(place, number)
        assert found is not None
        assert found.registry < NEWER
        assert found.life == str(number)
    async with owner(place) as gate:
        assert await gate.open({0, 1})
        assert stopped(gate) == {}


async def test_a_replay_ledger_made_anew_and_grown_past_is_missed_where_no_consent_was_folded(
    place: Installation,
) -> None:
    async with open_producer(place.bootstrap_servers) as producer:
        for number in range(3):
            await producer.send_and_wait(place.topics.ledger, b"{}", key=b"%d" % number, partition=1)
    former = {place.topics.ledger: LogIdentity("AAAAAAAAAAAAAAAAAAAAAA")}
    await note(place, 0, None)
    await note(place, 1, CommitNote("b", changelog_end=0, ledger_end=2, partitions=2, topics=former))
    async with owner(place) as gate:
        await gate.open({1})
        assert stopped(gate) == {1: HistoryLost}
        assert "is not the log that was committed to" in str(gate.stopped[1])


@pytest.mark.parametrize("log", ["changelog", "ledger"])
async def test_a_log_that_lost_its_tail_and_was_written_past_by_a_longer_round_is_missed(
    place: Installation, log: str
) -> None:
    """By where it ends it looks whole. But a batch stands across the offset at which committed rounds ended."""
    topic = getattr(place.topics, log)
    async with open_producer(place.bootstrap_servers) as producer:
        batch = producer.create_batch()
        for number in range(3):
            batch.append(key=b"p-%d" % number, value=b"{}", timestamp=None)
        first = (await (await producer.send_batch(batch, topic, partition=1))).offset
        await producer.send_and_wait(topic, b"{}", key=b"p-4", partition=1)
    await note(place, 0, None)
    async with owner(place) as gate:
        for reach, stops in ((first + 2, {1: HistoryLost}), (first + 3, {})):
            await note(place, 1, CommitNote("b", **{f"{log}_end": reach}, partitions=2))
            await gate.open({1})
            assert stopped(gate) == stops
            await gate.release()
            if stops:
                assert f"partition 1 of {topic} has other records at offset {reach}" in str(gate.stopped[1])


async def test_a_partition_whose_note_tells_of_a_newer_format_of_states_stops(place: Installation) -> None:
    await note(place, 0, None)
    await note(place, 1, CommitNote("b", partitions=2, state_format=STATE_FORMAT + 1))
    async with owner(place) as gate:
        await gate.open({0, 1})
        assert stopped(gate) == {1: StateTooNew}
        assert set(gate.partitions) == {0}


async def test_a_forgotten_group_decides_nothing_in_a_partition_without_states_either(place: Installation) -> None:
    """Its offsets expired. What another partition has in the changelog tells that the group has worked."""
    await delete_group(place.bootstrap_servers, place.app_id)
    transfers = place.topics.transfers
    async with open_producer(place.bootstrap_servers) as producer:
        await producer.send_and_wait(place.topics.changelog, b"{}", key=b"p-1", partition=0)
    async with owner(place) as gate:
        await gate.open({1})
        assert stopped(gate) == {1: OffsetsLost}
        assert f"partition 1: the group has no offset of {transfers} of partitions 0, 1 any more" in str(
            gate.stopped[1]
        )
        assert "set the group's offsets" in str(gate.stopped[1])
        await set_offsets(place.bootstrap_servers, place.app_id, {TopicPartition(transfers, 1): 0})
        await gate.open({1})
        assert stopped(gate) == {1: OffsetsLost}, "before the offsets of all are set, none is decided"
        await set_offsets(place.bootstrap_servers, place.app_id, {TopicPartition(transfers, 0): 0})
        assert await gate.open({0, 1})
        assert stopped(gate) == {}


async def test_a_new_group_beside_rounds_that_were_cut_off_is_not_taken_for_a_forgotten_one(
    place: Installation,
) -> None:
    """Aborted records have offsets, too."""
    await delete_group(place.bootstrap_servers, place.app_id)
    for topic in (place.topics.changelog, place.topics.ledger):
        await remake_topic(place.bootstrap_servers, topic, 2, {"cleanup.policy": "compact"})
    async with open_producer(place.bootstrap_servers, f"{place.app_id}-0") as writer:
        await writer.begin_transaction()
        await writer.send_and_wait(place.topics.changelog, b"{}", key=b"p-1", partition=0)
        await writer.abort_transaction()
    async with owner(place) as gate:
        assert await gate.open({1})
        assert stopped(gate) == {}


async def test_a_topic_that_is_compacted_while_a_worker_runs_stops_it(
    place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "POLICY_SECONDS", 0.1)
    feed = ListFeed()
    async with owner(place, feed):
        await configure_topic(place.bootstrap_servers, place.topics.strays, {"cleanup.policy": "compact,delete"})
        with pytest.raises(Compacted) as raised:
            await asyncio.wait_for(feed.run(mock.AsyncMock()), 60)
    error = raised.value
    assert f"{place.topics.strays} has cleanup.policy compact,delete, needed is delete" in str(error)
    assert "set cleanup.policy" in error.do
    await configure_topic(place.bootstrap_servers, place.topics.strays, {"cleanup.policy": "delete"})


async def test_a_second_gate_under_the_same_app_id_is_refused_and_the_first_goes_on(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    """Neither at its start nor, should both have started at once, when it is given partitions."""
    async with open_gate(bootstrap_servers, tmp_path, partitions=2) as first:
        folder = tmp_path / "second"
        folder.mkdir()
        other = f"{first.place.app_id}-other."
        names = {"app_id": first.place.app_id, "topic_prefix": other}
        second = Installation(bootstrap_servers, tmp_path / "registry", folder, partitions=2, **names)
        await asyncio.to_thread(second.apply_topics)
        async with owner(second) as gate:
            with pytest.raises(GroupShared, match=f"other topics: .*{first.topics.consents}"):
                await gate.open({0, 1})
        refused = second.start_worker()
        assert await refused.ended() == 1, refused.tail()
        log = refused.log.read_text(encoding="utf-8")
        assert first.topics.transfers in log
        assert "TRANSFER_GATE_APP_ID of its own" in log
        assert "Traceback" not in log
        await first.send(first.topics.transfers, first.events.transfer("p-1", "t-1"), b"p-1")
        await first.settled()


async def test_a_second_gate_under_another_app_id_on_the_same_topics_is_refused_and_the_first_goes_on(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    """Nothing is decided yet that could show that they are decided already."""
    async with open_gate(bootstrap_servers, tmp_path, partitions=1) as first:
        other = f"{first.place.app_id}-other"
        changelog = Topics(first.topics.prefix, other).changelog
        await make_topics(bootstrap_servers, {changelog: {"cleanup.policy": "compact"}}, 1)
        refused = first.place.start_worker(app_id=other)
        assert await refused.ended() == 1, refused.tail()
        log = refused.log.read_text(encoding="utf-8")
        assert f"another gate (app id {first.place.app_id}) is at work on the same topics" in log
        assert "Traceback" not in log
        settings = Operator(first, app_id=other).settings
        findings, _ = await examine(settings)
        assert any("is at work on the same topics" in finding.found for finding in findings)
        await first.consent("p-1")
        await first.settled()
        sent = await first.send(first.topics.transfers, first.events.transfer("p-1", "t-1"), b"p-1")
        outputs = await first.outputs()
        assert len(outputs.decided(sent)) == len(outputs.released_to("acme", "p-1")) == 1


def stopped(gate: Gate) -> dict[int, type[GateError]]:
    return {number: type(error) for number, error in gate.stopped.items()}
