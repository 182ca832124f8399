"""On clusters that forbid, or do not know, the requests of KIP-664 a gate works, and says once what it can't see."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.support.managed_kafka import How, ManagedKafka
from tests.support.stream_gate import StreamGate, open_gate
from transfer_gate.doctor import examine
from transfer_gate.kafka.topics import apply_topics
from transfer_gate.model.registry import Registry
from transfer_gate.settings import Settings

HIDDEN: Final = "the cluster does not show how transactions ended (KIP-664)"
#: A dead worker is noticed after this, seconds.
SESSION_SECONDS: Final = 2.0


@pytest_asyncio.fixture(params=["passed", "forbidden", "refused", "not offered"])
async def managed(request: pytest.FixtureRequest, bootstrap_servers: str) -> AsyncIterator[tuple[ManagedKafka, How]]:
    async with ManagedKafka(bootstrap_servers, request.param).running() as cluster:
        yield cluster, request.param


async def test_a_worker_decides_takes_over_and_says_once_what_it_can_not_see(
    managed: tuple[ManagedKafka, How], tmp_path: Path
) -> None:
    """Also behind `kill -9`: an open transaction is ended by fencing, which no cluster forbids."""
    cluster, how = managed
    async with open_gate(
        cluster.bootstrap_servers, tmp_path, partitions=2, session_timeout_seconds=SESSION_SECONDS
    ) as gate:
        await decide(gate, "p-1")
        gate.worker.kill()
        gate.place.start_worker()
        await decide(gate, "p-2")
        outputs = await gate.outputs()
        assert len(outputs.released_to("acme", "p-1", "p-2")) == 2
        for worker in gate.place.workers:
            assert worker.log.read_text(encoding="utf-8").count(HIDDEN) == (how != "passed")
        assert (await gate.worker.terminate())[0] == 0, gate.worker.tail()
    assert (cluster.asked > 0) == (how != "not offered")


async def decide(gate: StreamGate, prospect: str) -> None:
    await gate.consent(prospect)
    transfer = gate.events.transfer(prospect, f"t-{prospect}")
    await gate.send(gate.topics.transfers, transfer, prospect.encode())
    await gate.settled()


async def test_doctor_warns_of_what_the_cluster_does_not_show(
    managed: tuple[ManagedKafka, How], settings: Settings, registry: Registry
) -> None:
    cluster, how = managed
    await apply_topics(settings, registry)
    findings, answered = await examine(settings.model_copy(update={"bootstrap_servers": cluster.bootstrap_servers}))
    assert answered
    assert [finding for finding in findings if finding.status == "FAIL"] == []
    (found,) = (finding for finding in findings if finding.check == "transactions")
    assert found.status == ("ok" if how == "passed" else "warn")
    (clock,) = (finding for finding in findings if finding.check == "clock")
    assert clock.status == ("warn" if how == "not offered" else "ok")
    if how != "passed":
        assert "DescribeTransactions, KIP-664" in found.found
        assert ("grant Describe on transactional id" in found.do) == (how == "forbidden")
        assert "log-in-to-your-kafka.md" in found.do
