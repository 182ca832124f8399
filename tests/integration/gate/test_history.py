"""What was deleted behind the gate's back is noticed before anybody decides without it; what merely moved is not."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from unittest import mock

import pytest
import pytest_asyncio
from aiokafka import ConsumerRecord

from tests.support.clients import open_producer, open_reader, places_of, read_all, set_offsets
from tests.support.stream_gate import Sent, StreamGate, json_of, open_gate
from tests.support.topics import (
    configure_broker,
    configure_topic,
    delete_group,
    delete_records,
    make_topics,
    remake_topic,
)
from tests.support.workers import Worker
from transfer_gate.gate.faust.fetching import FETCH_WAIT_MS
from transfer_gate.gate.inbox import Fetched, Offsets, Passed, Record
from transfer_gate.gate.integrity.logs import HistoryLost, LeaderEpochs, Place
from transfer_gate.gate.monitoring import Deleted, Lag, Meter
from transfer_gate.gate.partition import Partition, Shared
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, Tables
from transfer_gate.kafka.coordinator import RoundFailed
from transfer_gate.kafka.transaction import TransactionalWriter
from transfer_gate.model.registry import Registry
from transfer_gate.model.topics import Topics
from transfer_gate.records.commit_notes import CommitNote, LogIdentity

#: A prospect who consents and then objects.
PROSPECT: Final = "p-1"
COMPACT: Final = {"cleanup.policy": "compact"}


@pytest_asyncio.fixture
async def gate(bootstrap_servers: str, tmp_path: Path) -> AsyncIterator[StreamGate]:
    """A gate that has applied a consent and an objection; its worker may stop."""
    async with open_gate(bootstrap_servers, tmp_path, partitions=1) as opened:
        await opened.consent(PROSPECT)
        await opened.send(
            opened.topics.consents, opened.events.against("objection", PROSPECT, "o-1"), PROSPECT.encode()
        )
        await opened.settled()
        yield opened


async def ask(gate: StreamGate, event_id: str) -> Sent:
    """A transfer of the prospect who objected."""
    return await gate.send(gate.topics.transfers, gate.events.transfer(PROSPECT, event_id), PROSPECT.encode())


async def end_of(gate: StreamGate, topic: str) -> int:
    (place,) = places_of([topic], 1)
    async with open_reader(gate.place.bootstrap_servers, "read_uncommitted") as reader:
        ends: dict[object, int] = await reader.end_offsets([place])
        return ends[place]


async def refusal(gate: StreamGate, transfer: Sent) -> str:
    """What the worker said when it refused to start; this transfer was not decided."""
    worker = gate.place.start_worker()
    assert await worker.ended() == 1, worker.tail()
    message = worker.log.read_text(encoding="utf-8")
    assert "Traceback" not in message
    assert (await gate.committed()).get(transfer.place[:2], 0) <= transfer.place[2], "it was decided"
    return message


async def expect_objected_once(gate: StreamGate, *transfers: Sent) -> None:
    """A worker that starts now leaves each of these decided once, by the objection."""
    await gate.place.start_worker().until_ready()
    outputs = await gate.outputs()
    for transfer in transfers:
        (decision,) = outputs.decided(transfer)
        assert decision["quarantined"] == {"email": ["not-objected"], "sms": ["not-objected"]}


async def test_a_changelog_that_was_made_anew_keeps_the_worker_from_deciding_until_the_history_is_folded_anew(
    gate: StreamGate,
) -> None:
    before = await ask(gate, "t-1")
    await gate.settled()
    await gate.worker.terminate()
    after = await ask(gate, "t-2")
    await remake_topic(gate.place.bootstrap_servers, gate.topics.changelog, 1, COMPACT)
    message = await refusal(gate, after)
    assert f"partition 0 of {gate.topics.changelog} ends at offset 0" in message
    assert "what to do: stop all workers and reset the group's offsets of consent-events" in message
    assert PROSPECT not in message

    await reset_offset(gate, gate.topics.consents)
    await expect_objected_once(gate, before, after)


async def test_a_changelog_that_is_made_anew_under_a_running_worker_stops_it_before_it_commits(
    gate: StreamGate,
) -> None:
    await remake_topic(gate.place.bootstrap_servers, gate.topics.changelog, 1, COMPACT)
    consent = await gate.consent("p-2")
    worker = gate.worker
    assert await worker.ended() == 1, worker.tail()
    # The round that commits sees where the log ends, a watch beside it that it is another topic: the first tells.
    told = worker.log.read_text(encoding="utf-8")
    place = f"partition 0 of {gate.topics.changelog}"
    assert f"{place} ends at offset 0" in told or f"{place} is not the log that was committed to" in told
    assert (await gate.committed())[consent.place[:2]] == consent.place[2]


async def reset_offset(gate: StreamGate, topic: str, offset: int = 0) -> None:
    """Set the group's offset of the one partition."""
    (place,) = places_of([topic], 1)
    await set_offsets(gate.place.bootstrap_servers, gate.place.app_id, {place: offset})


async def test_a_group_whose_offsets_the_brokers_forgot_decides_nothing_until_somebody_says_where_it_stood(
    gate: StreamGate,
) -> None:
    before = await ask(gate, "t-1")
    await gate.settled()
    await gate.worker.terminate()
    after = await ask(gate, "t-2")
    await delete_group(gate.place.bootstrap_servers, gate.place.app_id)
    message = await refusal(gate, after)
    assert f"partition 0: the group has no offset of {gate.topics.transfers} any more" in message
    assert f"what to do: stop all workers and set the group's offsets of {gate.topics.transfers}" in message
    assert PROSPECT not in message
    await reset_offset(gate, gate.topics.consents)
    await refusal(gate, after)

    await reset_offset(gate, gate.topics.transfers, before.place[2] + 1)
    await expect_objected_once(gate, before, after)


async def test_offsets_that_were_set_beyond_unapplied_events_or_back_before_decided_transfers_are_refused(
    gate: StreamGate,
) -> None:
    """An objection that came while no worker ran was skipped for ever, and partners got all transfers once more."""
    before = await ask(gate, "t-1")
    await gate.consent("p-2")
    await gate.settled()
    await gate.worker.terminate()
    value = gate.events.against("objection", "p-2", "o-2")
    objection = await gate.send(gate.topics.consents, value, b"p-2")
    after = await gate.send(gate.topics.transfers, gate.events.transfer("p-2", "t-2"), b"p-2")
    committed = await gate.committed()
    applied, decided = committed[gate.topics.consents, 0], committed[gate.topics.transfers, 0]

    await reset_offset(gate, gate.topics.consents, objection.place[2] + 1)
    message = await refusal(gate, after)
    assert f"the group's offset was set to {objection.place[2] + 1}, but only events below {applied} " in message
    assert f"what to do: stop all workers and set it to {applied}, or to the earliest" in message

    await reset_offset(gate, gate.topics.consents, applied)
    await reset_offset(gate, gate.topics.transfers)
    message = await refusal(gate, after)
    assert f"the group's offset was set back to 0, or deleted, but transfers below {decided} are decided" in message

    await reset_offset(gate, gate.topics.transfers, decided)
    await expect_objected_once(gate, before, after)


async def test_offsets_that_were_all_set_to_the_earliest_at_once_have_nothing_sent_twice(gate: StreamGate) -> None:
    """Not one note is left, as where the brokers forgot the group and somebody said where it stood. Another app id on
    the same topics has none either.
    """
    before = await ask(gate, "t-1")
    await gate.consent("p-2")
    await gate.settled()
    free = await gate.send(gate.topics.transfers, gate.events.transfer("p-2", "t-2"), b"p-2")
    await gate.settled()
    await gate.worker.terminate()
    after = await ask(gate, "t-3")
    group, topic = gate.place.app_id, gate.topics.transfers
    committed = await gate.committed()
    for name, _ in committed:
        await reset_offset(gate, name)
    message = await refusal(gate, after)
    assert f"transfers below {free.place[2] + 1} are decided: they would be decided, and sent to partners" in message
    command = f"--group {group} --topic {topic}:0 --reset-offsets --to-offset {free.place[2] + 1} --execute"
    assert command in message
    assert PROSPECT not in message
    _, output, _ = await asyncio.to_thread(gate.place.run, "doctor")
    assert "FAIL  group offsets" in output
    assert command in " ".join(output.split())

    changelog = Topics(gate.topics.prefix, f"{group}-2").changelog
    await make_topics(gate.place.bootstrap_servers, {changelog: COMPACT}, 1)
    another = gate.place.start_worker(app_id=f"{group}-2")
    assert await another.ended() == 1, another.tail()
    assert "has no offset and has no note of its last commit" in another.log.read_text(encoding="utf-8")

    await reset_offset(gate, topic, free.place[2] + 1)
    await expect_objected_once(gate, before, after)
    outputs = await gate.outputs()
    assert len(outputs.released_to("acme", "p-2")) == 1
    code, _ = await asyncio.to_thread(gate.place.verify)
    assert code == 0


async def test_offsets_that_were_all_set_to_the_latest_at_once_skip_no_objection(gate: StreamGate) -> None:
    await gate.consent("p-2")
    await gate.settled()
    await gate.worker.terminate()
    value = gate.events.against("objection", "p-2", "o-2")
    await gate.send(gate.topics.consents, value, b"p-2")
    for name in {name for name, _ in await gate.committed()}:
        await reset_offset(gate, name, await end_of(gate, name))
    after = await gate.send(gate.topics.transfers, gate.events.transfer("p-2", "t-2"), b"p-2")
    message = await refusal(gate, after)
    assert "has no note of its last commit: nothing shows that the events before it are applied" in message
    command = f"--topic {gate.topics.consents}:0 --reset-offsets --to-earliest --execute"
    assert command in message
    _, output, _ = await asyncio.to_thread(gate.place.run, "doctor")
    assert command in " ".join(output.split())

    await reset_offset(gate, gate.topics.consents)
    await expect_objected_once(gate, after)


async def test_a_first_round_that_was_cut_off_is_no_sign_of_earlier_work_and_one_that_was_committed_is(
    gate: StreamGate,
) -> None:
    """Aborted records have offsets, too; but nothing was committed, and so nothing was decided."""
    await gate.worker.terminate()
    servers, topics = gate.place.bootstrap_servers, gate.topics
    for topic in (topics.changelog, topics.ledger):
        await remake_topic(servers, topic, 1, COMPACT)
    await remake_topic(servers, topics.consents, 1, {"cleanup.policy": "delete"})
    await delete_group(servers, gate.place.app_id)
    async with open_producer(servers, f"{gate.place.app_id}-0") as writer:
        await writer.begin_transaction()
        await writer.send_and_wait(topics.changelog, b"{}", key=PROSPECT.encode(), partition=0)
        await writer.abort_transaction()
    transfer = await ask(gate, "t-1")
    worker = gate.place.start_worker()
    await worker.until_ready()
    assert len((await gate.outputs()).decided(transfer)) == 1
    # Nobody's consent was folded: what shows that the group has worked is what its first round left in the changelog.
    await gate.settled()
    await worker.terminate()
    after = await ask(gate, "t-2")
    await delete_group(servers, gate.place.app_id)
    await refusal(gate, after)


async def test_consents_that_were_deleted_unread_keep_the_worker_from_deciding(gate: StreamGate) -> None:
    await gate.worker.terminate()
    missed = await gate.send(
        gate.topics.consents, gate.events.against("withdrawal", PROSPECT, "w-1"), PROSPECT.encode()
    )
    transfer = await ask(gate, "t-1")
    await delete_records(gate.place.bootstrap_servers, gate.topics.consents, 0, missed.place[2] + 1)
    message = await refusal(gate, transfer)
    assert f"partition 0 of {gate.topics.consents} begins at offset {missed.place[2] + 1}" in message


async def test_consents_that_were_compacted_for_a_while_keep_the_worker_from_deciding(gate: StreamGate) -> None:
    """Its consent behind the withdrawal is all that compaction left of a prospect."""
    servers, topic = gate.place.bootstrap_servers, gate.topics.consents
    await gate.worker.terminate()
    gone = await gate.send(topic, gate.events.against("withdrawal", PROSPECT, "w-1"), PROSPECT.encode())
    await gate.consent(PROSPECT)
    transfer = await ask(gate, "t-1")
    await compact(gate, topic, gone.place[2])
    await configure_topic(servers, topic, {"cleanup.policy": "delete"})
    message = await refusal(gate, transfer)
    assert f"partition 0 of {topic} lacks records between the offsets" in message
    assert "the topic was compacted" in message
    assert PROSPECT not in message


async def compact(gate: StreamGate, topic: str, gone: int) -> None:
    """Have the broker's cleaner take the record at an offset away."""
    servers = gate.place.bootstrap_servers
    eager = {"cleanup.policy": "compact", "segment.ms": "1", "min.cleanable.dirty.ratio": "0.01"}
    await configure_topic(servers, topic, eager)
    await configure_broker(servers, {"log.cleaner.backoff.ms": "100"})
    left, number = {gone}, 0
    while gone in left:
        number += 1
        await gate.consent(f"p-roll-{number}")  # a new segment: the newest one is left alone
        left = {record.offset async for record in read_all(servers, [topic], 1)}
    await configure_broker(servers, {})


async def test_transfers_that_were_deleted_undecided_are_told_and_the_rest_is_decided(gate: StreamGate) -> None:
    decided = await ask(gate, "t-1")
    await gate.settled()
    await gate.worker.terminate()
    gone = [await ask(gate, f"t-{number}") for number in (2, 3)]
    left = await ask(gate, "t-4")
    await delete_records(gate.place.bootstrap_servers, gate.topics.transfers, 0, left.place[2])
    worker = gate.place.start_worker()
    await worker.until_ready()
    outputs = await gate.outputs()
    assert [len(outputs.decided(sent)) for sent in (decided, *gone, left)] == [1, 0, 0, 1]
    await told(worker, gone)

    await worker.terminate()
    again = gate.place.start_worker()
    await again.until_ready()
    assert again.metric("transfer_gate_deleted_undecided_offsets_total") == 0


async def test_transfers_that_were_deleted_while_a_worker_stood_before_them_are_told_and_the_rest_is_decided(
    gate: StreamGate,
) -> None:
    decided = await ask(gate, "t-1")
    await gate.settled()
    gate.worker.freeze()
    # Its last fetch has to end: the broker would answer it with the first of what comes.
    await asyncio.sleep(3 * FETCH_WAIT_MS / 1000)
    gone = [await ask(gate, f"t-{number}") for number in (2, 3)]
    left = await ask(gate, "t-4")
    await delete_records(gate.place.bootstrap_servers, gate.topics.transfers, 0, left.place[2])
    gate.worker.thaw()
    outputs = await gate.outputs()
    assert [len(outputs.decided(sent)) for sent in (decided, *gone, left)] == [1, 0, 0, 1]
    await told(gate.worker, gone)


async def test_offsets_that_were_passed_over_and_are_still_there_are_not_told_as_deleted(
    gate: StreamGate, caplog: pytest.LogCaptureFixture
) -> None:
    """They are those of markers and aborted records."""
    sent = [await ask(gate, f"t-{number}") for number in range(4)]
    topic, servers = gate.topics.transfers, gate.place.bootstrap_servers
    lag = Lag({"bootstrap_servers": servers, "client_id": "test"}, (topic,))
    deleted = Deleted(lag, (topic,))
    await lag.start(())
    try:
        deleted.passed(topic, 0, [Passed(sent[0].place[2], sent[2].place[2])])
        await deleted._look(topic)
        assert "records were deleted" not in caplog.text
        await delete_records(servers, topic, 0, sent[3].place[2])
        deleted.passed(topic, 0, [Passed(sent[1].place[2], sent[2].place[2])])
        await deleted._look(topic)
        assert caplog.text.count("records were deleted") == 1
    finally:
        await lag.close()


async def told(worker: Worker, gone: Sequence[Sent]) -> None:
    """Wait until a worker has told, once, that exactly these transfers are gone."""
    first, last = gone[0].place[2], gone[-1].place[2]
    name = "transfer_gate_deleted_undecided_offsets_total"
    await worker.until(lambda: worker.metric(name) > 0, "aware of deleted transfers")
    assert worker.metric(name) == last + 1 - first
    (line,) = [line for line in worker.log.read_text(encoding="utf-8").splitlines() if "records were deleted" in line]
    assert "[error " in line
    assert f"first={first} last={last} partition=0 topic={gone[0].place[0]}" in line
    assert PROSPECT not in line


async def test_consents_that_were_made_anew_are_read_from_their_beginning_and_what_was_applied_stays(
    gate: StreamGate,
) -> None:
    """The broker forgets the group's offsets of a topic that is deleted."""
    await gate.worker.terminate()
    held = await ask(gate, "t-1")
    await remake_topic(gate.place.bootstrap_servers, gate.topics.consents, 1, {})
    await gate.consent("p-2")
    free = await gate.send(gate.topics.transfers, gate.events.transfer("p-2", "t-2"), b"p-2")
    await gate.place.start_worker().until_ready()
    outputs = await gate.outputs()
    assert outputs.decided(held)[0]["quarantined"] == {"email": ["not-objected"], "sms": ["not-objected"]}
    assert outputs.decided(free)[0]["released"] == ["email", "sms"]


async def test_consents_that_end_before_what_was_fetched_of_them_let_nothing_be_decided(registry: Registry) -> None:
    """A position behind the end would seem enough to any barrier, and hide what is written in between."""
    partition = alone(registry, Log(0, 3), committed=5)
    partition.receive("prospect-transfers", Fetched.of([record_at(0)], 1))
    with pytest.raises(RoundFailed, match="end at 3, but were fetched up to 5"):
        await partition.run()


@pytest.mark.parametrize("topic", ["consent-events", "transfer-gate-strays"])
async def test_consent_events_that_were_compacted_away_let_nothing_be_decided(registry: Registry, topic: str) -> None:
    partition = alone(registry, Log(0, 9), committed=5)
    partition.receive(topic, Fetched.of([record_at(8)], 9, hole=(6, 8)))
    with pytest.raises(HistoryLost, match=f"{topic} lacks records between the offsets 6 and 8"):
        await partition.run()


@pytest.mark.parametrize("records", [[8], []], ids=["records behind the hole", "nothing behind it"])
async def test_consents_that_were_deleted_while_a_worker_stood_before_them_let_nothing_be_decided(
    registry: Registry, records: list[int]
) -> None:
    """A consumer whose place was deleted goes on at the beginning of what is left, and says nothing."""
    partition = alone(registry, Log(8, 9), committed=5)
    partition.receive("consent-events", Fetched.of([record_at(offset) for offset in records], 9))
    with pytest.raises(HistoryLost, match="begins at offset 8, but only those below 5 were applied"):
        await partition.run()


async def test_under_a_new_leader_that_lacks_what_was_applied_nothing_is_decided(registry: Registry) -> None:
    """Cut and written up to exactly the old place while the worker ran: no offset and no batch tells."""

    async def ends(asked: Mapping[Place, int]) -> dict[Place, int]:
        return dict.fromkeys(asked, 3)

    epochs = LeaderEpochs(ends)
    partition = alone(registry, Log(0, 5), committed=5, epochs=epochs, epoch=1)
    epochs.learn(mock.Mock(topics=[(0, "consent-events", "id", False, [(0, 0, 1, 2)])]))
    partition.receive("prospect-transfers", Fetched.of([record_at(0)], 1))
    with pytest.raises(HistoryLost, match="up to offset 5, and the log of that epoch ends at 3 now"):
        await partition.run()


async def test_offsets_of_markers_and_aborted_records_are_no_hole(registry: Registry) -> None:
    partition = alone(registry, Log(5, 9), committed=5)
    partition.receive("consent-events", Fetched.of([], 9))
    running = asyncio.create_task(partition.run())
    while partition.applied.consents != 9:
        assert not running.done()
        await asyncio.sleep(0)
    partition.leave()
    await running


class Log(NamedTuple):
    """A consent topic as a broker tells of it."""

    first: int
    last: int

    async def begin(self, _partition: int) -> tuple[int, ...]:
        return self.first, 0

    async def ends(self, _partition: int) -> tuple[int, ...]:
        return self.last, 0


def alone(
    registry: Registry, log: Log, committed: int, epochs: LeaderEpochs | None = None, epoch: int = -1
) -> Partition:
    """A partition without a broker, whose group has committed consents up to an offset."""
    book = Rulebook.of(Topics(), registry)
    shared = Shared(book=book, watermark=log, meter=Meter(book), round_records=10, inbox_records=10, epochs=epochs)
    return Partition(
        0,
        shared,
        Tables(MemorySlice(), MemorySlice()),
        mock.Mock(spec=TransactionalWriter),
        Offsets(consents=committed),
        CommitNote("a", topics={book.consents: LogIdentity("id", 0, epoch)}),
    )


def record_at(offset: int) -> Record:
    return ConsumerRecord("", 0, offset, 0, 0, b"p-1", b"", None, 3, 0, ())


async def test_a_position_behind_control_and_aborted_records_is_committed_and_not_missed_when_they_are_deleted(
    gate: StreamGate,
) -> None:
    servers, topics = gate.place.bootstrap_servers, gate.topics
    async with open_producer(servers, f"{gate.place.app_id}-upstream") as upstream:
        for number, commits in enumerate((True, False)):
            await upstream.begin_transaction()
            for topic, value in (
                (topics.consents, gate.events.consent("p-2", f"c-{number}")),
                (topics.transfers, gate.events.transfer("p-2", f"t-{number}")),
            ):
                await upstream.send_and_wait(topic, value, key=b"p-2", partition=0)
            await (upstream.commit_transaction() if commits else upstream.abort_transaction())
    await gate.settled()
    marker_passed = await end_of(gate, topics.consents)
    assert (await gate.committed())[topics.consents, 0] == marker_passed
    await gate.worker.terminate()
    await delete_records(servers, topics.consents, 0, marker_passed)
    await gate.place.start_worker().until_ready()
    await ask(gate, "t-last")
    outputs = await gate.outputs()
    assert [json_of(record)["event_id"] for record in outputs.released["acme"]] == ["t-0"]
    assert len(outputs.decisions) == 2
