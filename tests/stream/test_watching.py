"""What waits is seen in the gauges while it waits, and in none of them afterwards."""

import uuid

from tests.support.faults_clients import open_producer
from tests.support.stream_gate import StreamGate

LAG = "transfer_gate_consumer_lag_offsets"
WITHDRAWN = "transfer_gate_withdrawal_applied_seconds_count"


def of(gate: StreamGate, name: str, **labels: str) -> float:
    """A metric of partition 0 of the worker."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()] + ['partition="0"']
    found = gate.worker.metric_by_labels(name)
    return sum(value for labels_of, value in found.items() if all(label in labels_of for label in wanted))


async def test_transfers_behind_an_open_transaction_are_seen_to_wait(gate: StreamGate) -> None:
    topics, worker = gate.topics, gate.worker
    await gate.settled()
    withdrawn = worker.metric(WITHDRAWN)
    key = b"watched"
    async with open_producer(gate.place.bootstrap_servers, f"watching-{uuid.uuid4().hex}") as upstream:
        async with upstream.transaction():
            withdrawal = gate.events.against("withdrawal", "watched", "w-watched")
            await upstream.send_and_wait(topics.consents, withdrawal, key, partition=0)
            other = gate.events.transfer("watched-too", "t-watched-too")
            await upstream.send_and_wait(topics.transfers, other, b"watched-too", partition=0)
            await gate.send(topics.transfers, gate.events.transfer("watched", "t-watched"), key)
            await worker.until(lambda: of(gate, LAG, topic=topics.consents) >= 1, "behind on consents")
            await worker.until(lambda: of(gate, LAG, topic=topics.transfers) >= 2, "behind on transfers")
        await gate.settled()
    # The last transaction ended with markers, which have offsets and are never delivered.
    await worker.until(lambda: of(gate, LAG, topic=topics.consents) == 0, "done with consents")
    await worker.until(lambda: of(gate, LAG, topic=topics.transfers) == 0, "done with transfers")
    assert worker.metric(WITHDRAWN) == withdrawn + 1


async def test_a_barrier_that_waits_says_for_how_long_and_how_much(gate: StreamGate) -> None:
    topics, worker = gate.topics, gate.worker
    await gate.settled()
    async with open_producer(gate.place.bootstrap_servers, f"watching-{uuid.uuid4().hex}") as upstream:
        async with upstream.transaction():
            await upstream.send_and_wait(
                topics.consents, gate.events.consent("waiting", "c-waiting"), b"waiting", partition=0
            )
            await gate.send(topics.transfers, gate.events.transfer("waiting", "t-waiting"), b"waiting")
            await worker.until(lambda: of(gate, "transfer_gate_barrier_waiting_seconds") > 0.3, "waiting for a while")
            assert of(gate, "transfer_gate_barrier_waiting_records") == 1
            assert of(gate, "transfer_gate_oldest_waiting_seconds") > 0.3
        await gate.settled()
    assert of(gate, "transfer_gate_barrier_waiting_seconds") == 0
    assert of(gate, "transfer_gate_barrier_waiting_records") == 0
    assert of(gate, "transfer_gate_oldest_waiting_seconds") == 0
