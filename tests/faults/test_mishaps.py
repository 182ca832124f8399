"""What docs/reference/what-happens-when.md says of full disks, lost clocks and partner topics that can't be written.

Every test ends with the mishap mended and all outcomes there exactly once.
"""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.support.registry import PARTNERS
from tests.support.stream_gate import Sent, StreamGate, open_gate
from tests.support.workers import Worker

#: Bounds how long a round waits for a topic before it starts over, seconds.
ROUND_SECONDS: Final = 2
#: No file may grow beyond this on the full disk, bytes.
FULL: Final = 64 << 10
DECIDED: Final = "transfer_gate_decisions_total"
FAILED: Final = 'transfer_gate_transactions_total{outcome="failed"}'


async def ask(gate: StreamGate, names: Iterable[str], partners: tuple[str, ...] = PARTNERS[:1]) -> list[Sent]:
    """Transfers of people whose consent was acknowledged."""
    people = list(names)
    for name in people:
        await gate.consent(name)
    topic = gate.topics.transfers
    return [await gate.send(topic, gate.events.transfer(n, f"t-{n}", partners), n.encode()) for n in people]


async def exactly_once(gate: StreamGate) -> None:
    await gate.settled()
    code, counts = await asyncio.to_thread(gate.place.verify)
    assert code == 0, counts


async def test_with_a_full_disk_under_rocksdb_it_stops_and_the_next_one_goes_on(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    async with open_gate(bootstrap_servers, tmp_path, partitions=1, store="rocksdb://") as gate:
        # Larger than the worker's log, smaller than what RocksDB is about to write ahead.
        gate.worker.limit(psutil.RLIMIT_FSIZE, FULL)
        people = [f"p-{number}" for number in range(300)]
        await ask(gate, people)
        assert await gate.worker.ended() == 1
        assert "IO error" in gate.worker.tail()
        assert "nothing is lost" in gate.worker.tail()
        assert "Traceback" not in gate.worker.tail()
        await gate.place.start_worker().until_ready()
        await exactly_once(gate)
        assert len((await gate.outputs()).released_to(PARTNERS[0], *people)) == len(people)


@pytest.mark.long
async def test_without_file_descriptors_it_stops_and_another_one_takes_over(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    async with open_gate(bootstrap_servers, tmp_path, partitions=2) as gate:
        starved = gate.worker
        starved.limit(psutil.RLIMIT_NOFILE, 3)
        other = gate.place.start_worker()  # the new assignment needs new connections
        assert await starved.ended() == 1
        assert "no file descriptors are left" in starved.tail()
        await other.until(lambda: other.metric("transfer_gate_assigned_partitions") == 2, "given all partitions")
        await ask(gate, ["after"])
        await exactly_once(gate)


@pytest.mark.long
async def test_a_clock_that_is_far_ahead_stops_it_with_its_name(bootstrap_servers: str, tmp_path: Path) -> None:
    async with open_gate(bootstrap_servers, tmp_path, partitions=1) as gate:
        await stopped(gate)
        worker = await with_clock(gate, dt.timedelta(days=2))
        await ask(gate, ["ahead"])
        assert await worker.ended() == 1
        assert "the clock of this machine is far off" in worker.tail()
        await gate.place.start_worker().until_ready()
        await exactly_once(gate)
        assert (await gate.outputs()).released_to(PARTNERS[0], "ahead")


async def test_a_clock_set_back_holds_back_what_it_takes_for_the_future_and_lets_no_withdrawal_slip(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    async with open_gate(bootstrap_servers, tmp_path, partitions=1) as gate:
        await stopped(gate)
        await with_clock(gate, dt.timedelta())
        await ask(gate, ["right"])
        await gate.settled()
        set_clock(gate, dt.timedelta(days=-1))
        (held,) = await ask(gate, ["early"])
        against = gate.events.against("withdrawal", "right", "x-right")
        await gate.send(gate.topics.consents, against, b"right")
        again = await gate.send(gate.topics.transfers, gate.events.transfer("right", "t-again"), b"right")
        await gate.settled()
        set_clock(gate, dt.timedelta())
        await ask(gate, ["late"])
        outputs = await gate.outputs()
        assert {reason for reasons in reasons_of(outputs.decided(held)) for reason in reasons} == {"clock-sane"}
        assert all("not-withdrawn" in reasons for reasons in reasons_of(outputs.decided(again)))
        released = outputs.released_to(PARTNERS[0], "right", "early", "late")
        assert [record["event_id"] for record in released] == ["t-right", "t-late"]
        await exactly_once(gate)


async def test_a_partner_topic_that_is_deleted_is_waited_for_until_it_is_made_again(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    async with open_gate(bootstrap_servers, tmp_path, partitions=1, transaction_timeout_seconds=ROUND_SECONDS) as gate:
        await delete(gate, partner_topic(gate))
        await ask(gate, ["waiting"], PARTNERS[:2])
        worker = gate.worker
        await worker.until(lambda: worker.metric_by_labels(FAILED).get(FAILED, 0) > 0, "starting over")
        assert worker.metric(DECIDED) == 0
        await asyncio.to_thread(gate.place.apply_topics)
        await exactly_once(gate)
        gate.place.assert_none_gave_up()


def reasons_of(decisions: list[dict[str, Any]]) -> list[list[str]]:
    return [reasons for decision in decisions for reasons in decision["quarantined"].values()]


async def stopped(gate: StreamGate) -> None:
    """End the plain worker; the test starts one with another clock."""
    code, _ = await gate.worker.terminate()
    assert code == 0


async def with_clock(gate: StreamGate, wrong: dt.timedelta) -> Worker:
    """Start a worker whose clock is wrong by so much."""
    clock_file(gate, len(gate.place.workers)).write_text(str(wrong.total_seconds()), encoding="ascii")
    worker = gate.place.start_worker("with_settable_clock")
    await worker.until_ready()
    return worker


def set_clock(gate: StreamGate, wrong: dt.timedelta) -> None:
    """Make the clock of the last worker jump."""
    file = clock_file(gate, len(gate.place.workers) - 1)
    new = file.with_suffix(".new")
    new.write_text(str(wrong.total_seconds()), encoding="ascii")
    new.replace(file)


def clock_file(gate: StreamGate, worker: int) -> Path:
    return gate.place.folder / f"clock-{worker}"


def partner_topic(gate: StreamGate) -> str:
    return f"{gate.topics.prefix}partner.{PARTNERS[0]}"


async def delete(gate: StreamGate, topic: str) -> None:
    async with administering(gate) as admin:
        await admin.delete_topics([topic])


@asynccontextmanager
async def administering(gate: StreamGate) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=gate.place.bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
