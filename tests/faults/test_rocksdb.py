"""`STORE=rocksdb://`: a worker that comes back to its folder reads only the tail of the changelog, decides right."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Literal

import pytest
import pytest_asyncio

from tests.faults.conftest import SESSION_SECONDS
from tests.support.clients import open_producer
from tests.support.stream_gate import StreamGate, json_of, open_gate
from tests.support.topics import delete_records, make_topics
from tests.support.workers import Worker
from transfer_gate.gate.integrity.logs import HistoryLost
from transfer_gate.gate.rocksdb import RocksSlice
from transfer_gate.gate.table import restore
from transfer_gate.records.commit_notes import Reach

#: Prospects in the folder before the worker goes.
HELD: Final = 200
RESTORED: Final = "transfer_gate_restored_records_total"


@pytest_asyncio.fixture
async def gate(bootstrap_servers: str, tmp_path: Path) -> AsyncIterator[StreamGate]:
    """A gate on disk whose first worker has applied the consents of HELD prospects."""
    async with open_gate(
        bootstrap_servers, tmp_path, partitions=1, store="rocksdb://", session_timeout_seconds=SESSION_SECONDS
    ) as opened:
        for number in range(HELD):
            await opened.consent(f"p-{number}")
        await opened.settled()
        yield opened


async def object_to(gate: StreamGate, prospect: str) -> None:
    event = gate.events.against("objection", prospect, f"o-{prospect}")
    await gate.send(gate.topics.consents, event, prospect.encode())


async def released_after(gate: StreamGate, *prospects: str) -> set[str]:
    """Which of these prospects are released when they are asked for."""
    for prospect in prospects:
        await gate.send(gate.topics.transfers, gate.events.transfer(prospect, f"t-{prospect}"), prospect.encode())
    outputs = await gate.outputs()
    return {json_of(record)["prospect_id"] for record in outputs.released["acme"]}


@pytest.mark.parametrize("end", ["kill -9", pytest.param("SIGTERM", marks=pytest.mark.long)])
async def test_a_worker_that_comes_back_reads_only_what_others_wrote_meanwhile(
    gate: StreamGate, end: Literal["SIGTERM", "kill -9"]
) -> None:
    await object_to(gate, "p-0")
    await gate.settled()
    await stop(gate.worker, end)

    stranger = gate.place.start_worker()
    await object_to(gate, "p-1")
    await gate.consent("p-new")
    await gate.settled()
    assert stranger.metric(RESTORED) == HELD + 1, "it had nothing in its folder"
    await stop(stranger, end)

    back = gate.place.start_worker(data_of=0)
    await back.until_ready()
    assert back.metric(RESTORED) == 2, "of p-1 and p-new"
    assert await released_after(gate, "p-0", "p-1", "p-2", "p-new") == {"p-2", "p-new"}


async def stop(worker: Worker, end: Literal["SIGTERM", "kill -9"]) -> None:
    if end == "SIGTERM":
        code, _ = await worker.terminate()
        assert code == 0, worker.tail()
    else:
        worker.kill()


async def test_a_second_worker_on_the_same_folder_is_refused_and_the_first_goes_on(gate: StreamGate) -> None:
    first, second = gate.worker, gate.place.start_worker(data_of=0)
    assert await second.ended() == 2, second.tail()
    message = second.log.read_text(encoding="utf-8")
    assert "another worker keeps its state in" in message
    assert "what to do: give every worker its own TRANSFER_GATE_DATA_DIR" in message
    assert "Traceback" not in message
    assert await released_after(gate, "p-1") == {"p-1"}
    assert first.metric("transfer_gate_rebalances_total") == 1, "the second one disturbed the first"


@pytest.mark.parametrize(
    ("life", "position", "why"),
    [
        ("now", 2, "it is older than the first offset of the log"),
        ("now", 500, "it is ahead of the log"),
        ("before", 6, "it holds what an earlier log held at these offsets"),
    ],
)
async def test_a_folder_that_does_not_fit_the_changelog_is_rebuilt(
    bootstrap_servers: str, tmp_path: Path, life: str, position: int, why: str
) -> None:
    topic = f"life-{tmp_path.name}"
    await make_topics(bootstrap_servers, {topic: {}}, 1)
    async with open_producer(bootstrap_servers) as producer:
        for number in range(10):
            await producer.send_and_wait(topic, b"now", key=b"p-%d" % number)
    await delete_records(bootstrap_servers, topic, 0, 4)
    options = {"bootstrap_servers": bootstrap_servers}
    table = RocksSlice(tmp_path / "state")
    table.life = life
    table.update({b"p-1": b"long ago", b"p-5": b"long ago"}, position)
    assert await restore(options, topic, {0: table}, {0: Reach(0, "now")}) == 6, why
    assert dict(table.items()) == {b"p-%d" % number: b"now" for number in range(4, 10)}
    assert (table.position, table.life) == (10, "now")
    assert await restore(options, topic, {0: table}, {0: Reach(10, "now")}) == 0, "it fits now"
    table.close()


async def test_a_folder_that_has_what_was_deleted_of_the_changelog_is_enough_and_none_is_not(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    topic = f"tail-{tmp_path.name}"
    await make_topics(bootstrap_servers, {topic: {}}, 1)
    async with open_producer(bootstrap_servers) as producer:
        for number in range(10):
            await producer.send_and_wait(topic, b"now", key=b"p-%d" % number)
    options = {"bootstrap_servers": bootstrap_servers}
    table = RocksSlice(tmp_path / "state")
    assert await restore(options, topic, {0: table}, {0: Reach(0, "now")}) == 10
    await delete_records(bootstrap_servers, topic, 0, 4)
    assert await restore(options, topic, {0: table}, {0: Reach(10, "now")}) == 0
    assert len(dict(table.items())) == 10
    table.close()
    with pytest.raises(HistoryLost, match="begins at offset 4"):
        await restore(options, topic, {0: RocksSlice(tmp_path / "new")}, {0: Reach(10, "now")})
