"""What waits is seen in the gauges while it waits, and in none of them afterwards."""

import uuid
from typing import Final

import pytest

from tests.support.clients import open_producer
from tests.support.stream_gate import StreamGate

pytestmark = pytest.mark.asyncio(loop_scope="session")

LAG: Final = "transfer_gate_consumer_lag_offsets"
WAITING_RECORDS: Final = "transfer_gate_barrier_waiting_records"
WAITING_SECONDS: Final = "transfer_gate_barrier_waiting_seconds"
OLDEST_SECONDS: Final = "transfer_gate_oldest_waiting_seconds"
WITHDRAWN: Final = "transfer_gate_withdrawal_applied_seconds_count"


def of(gate: StreamGate, name: str, **labels: str) -> float:
    """A metric of partition 0 of the worker."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()] + ['partition="0"']
    found = gate.worker.metric_by_labels(name)
    return sum(value for written, value in found.items() if all(label in written for label in wanted))


async def leave(gate: StreamGate, prospect: str) -> None:
    """End with records of no transaction: committed offsets don't move past markers alone."""
    await gate.consent(prospect)
    await gate.send(gate.topics.transfers, gate.events.transfer(prospect, f"t-{prospect}"), prospect.encode())
    await gate.settled()


async def test_what_stands_behind_an_open_transaction_is_lag_until_it_ends(gate: StreamGate) -> None:
    topics, worker, events = gate.topics, gate.worker, gate.events
    await gate.settled()
    withdrawn = worker.metric(WITHDRAWN)
    async with open_producer(gate.place.bootstrap_servers, f"watching-{uuid.uuid4().hex}") as upstream:
        async with upstream.transaction():
            withdrawal = events.against("withdrawal", "lag-1", "w-lag-1")
            await upstream.send_and_wait(topics.consents, withdrawal, b"lag-1", partition=0)
            await upstream.send_and_wait(topics.transfers, events.transfer("lag-2", "t-2"), b"lag-2", partition=0)
            await gate.send(topics.transfers, events.transfer("lag-1", "t-1"), b"lag-1")
            await worker.until(lambda: of(gate, LAG, topic=topics.consents) >= 1, "behind on consents")
            await worker.until(lambda: of(gate, LAG, topic=topics.transfers) >= 2, "behind on transfers")
        # Both topics end with a marker now, which has an offset and is never delivered.
        await worker.until(lambda: of(gate, LAG, topic=topics.consents) == 0, "done with consents")
        await worker.until(lambda: of(gate, LAG, topic=topics.transfers) == 0, "done with transfers")
    assert worker.metric(WITHDRAWN) == withdrawn + 1
    await leave(gate, "lag-3")


async def test_a_barrier_that_waits_says_for_how_long_and_how_much(gate: StreamGate) -> None:
    topics, worker, events = gate.topics, gate.worker, gate.events
    prospect = next(name for name in map("wait-{}".format, range(99)) if gate.home(name) == 0)
    await gate.settled()
    async with open_producer(gate.place.bootstrap_servers, f"watching-{uuid.uuid4().hex}") as upstream:
        async with upstream.transaction():
            consent = events.consent(prospect, "c-1")
            await upstream.send_and_wait(topics.consents, consent, prospect.encode(), partition=0)
            await gate.send(topics.transfers, events.transfer(prospect, "t-3"), prospect.encode())
            await worker.until(lambda: of(gate, WAITING_SECONDS) > 0.3, "waiting for a while")
            assert of(gate, WAITING_RECORDS) == 1
            assert of(gate, OLDEST_SECONDS) > 0.3
        await worker.until(lambda: of(gate, WAITING_SECONDS) == 0, "waiting no more")
    assert of(gate, WAITING_RECORDS) == 0
    assert of(gate, OLDEST_SECONDS) == 0
    await leave(gate, "left")
