"""What can't be quarantined stops the worker: nothing is skipped, and the message says what to do."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.support.stream_gate import StreamGate, json_of, open_gate

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Room for the small records of this test with their headers, not for the large ones.
SMALL: Final = 5_000
LARGE: Final = b"\xff" * 20_000


@pytest_asyncio.fixture(loop_scope="module")
async def own_gate(bootstrap_servers: str, tmp_path: Path) -> AsyncIterator[StreamGate]:
    """A gate whose worker may stop."""
    async with open_gate(bootstrap_servers, tmp_path, partitions=1) as gate:
        yield gate


@pytest.mark.parametrize("kind", ["transfer", "consent"])
async def test_a_record_that_the_quarantine_topic_refuses_stops_the_worker_until_the_topic_takes_it(
    own_gate: StreamGate, kind: str
) -> None:
    gate, topics = own_gate, own_gate.topics
    await gate.consent("p-1")
    before = await gate.send(topics.transfers, gate.events.transfer("p-1", "before"), b"p-1")
    small = await gate.send(topics.transfers, b"not json", b"p-1")
    await gate.settled()
    await gate.limit(topics.quarantine, SMALL)
    too_large = await gate.send(topics.transfers if kind == "transfer" else topics.consents, LARGE, b"p-2")
    behind = await gate.send(topics.transfers, gate.events.transfer("p-1", "behind"), b"p-1")

    stopped = gate.worker
    assert await stopped.ended() == 1
    message = stopped.log.read_text(encoding="utf-8")
    assert f"topic {topics.quarantine} refuses a record (MessageSizeTooLargeError)" in message
    assert "what to do: raise max.message.bytes of that topic" in message
    assert "Traceback" not in message
    committed = await gate.committed()
    assert committed[too_large.place[:2]] == too_large.place[2], "the record that was refused counts as read"
    assert committed[behind.place[:2]] <= behind.place[2]

    await gate.limit(topics.quarantine, 100_000)
    await gate.place.start_worker().until_ready()
    outputs = await gate.outputs()
    (held,) = outputs.held(too_large)
    assert (held.key, held.value) == (b"p-2", LARGE)
    assert [record.value for record in outputs.held(small)] == [b"not json"]
    released = [json_of(record)["event_id"] for record in outputs.released["acme"]]
    assert released == ["before", "behind"]
    assert [decision["event_id"] for sent in (before, behind) for decision in outputs.decided(sent)] == released


async def test_a_released_record_that_its_topic_refuses_stops_the_worker_as_well(own_gate: StreamGate) -> None:
    gate = own_gate
    acme = f"{gate.topics.prefix}partner.acme"
    await gate.consent("p-1")
    await gate.limit(acme, 100)
    sent = await gate.send(gate.topics.transfers, gate.events.transfer("p-1", "large"), b"p-1")
    assert await gate.worker.ended() == 1
    assert f"topic {acme} refuses a record" in gate.worker.log.read_text(encoding="utf-8")
    assert (await gate.committed()).get(sent.place[:2], 0) == 0
    await gate.limit(acme, 100_000)
    await gate.place.start_worker().until_ready()
    assert [json_of(record)["event_id"] for record in (await gate.outputs()).released["acme"]] == ["large"]
