"""A log that lost records which the gate had taken, and was written past its old end, is told from a whole one by its
leader epochs (KIP-320): by its offsets alone it looks like one that has merely grown."""

import asyncio
import struct
from pathlib import Path

from tests.conftest import FreshKafka
from tests.support.clients import open_producer, places_of, set_offsets
from tests.support.stream_gate import StreamGate, open_gate
from transfer_gate.local.kafka import LocalKafka

PROSPECT = "p-1"


def cut(broker: LocalKafka, topic: str, offset: int) -> None:
    """Take everything from `offset` on off the disk of a broker that was killed, as a disk that was set back would."""
    (segment,) = broker.data_dir.rglob(f"{topic}-0/{0:020}.log")
    data, position = segment.read_bytes(), 0
    while position < len(data):
        base, length = struct.unpack_from(">qi", data, position)
        if base >= offset:
            break
        position += 12 + length
    segment.write_bytes(data[:position])
    for name in ("*.index", "*.timeindex", "*.snapshot"):
        for file in segment.parent.glob(name):
            file.unlink()


async def test_consents_that_were_lost_and_written_past_their_end_keep_the_worker_from_deciding(
    fresh_kafka: FreshKafka, tmp_path: Path
) -> None:
    """20 events, 10 of them lost, 15 new ones: the group stands at 20, and the topic goes up to 25.

    The look at a take-over is enough: this worker has no other.
    """
    broker = fresh_kafka()
    async with open_gate(broker.bootstrap_servers, tmp_path, partitions=1) as gate:
        for number in range(20):
            await gate.consent(f"p-{number}")
        first = await transfer(gate, "t-1")
        await gate.settled()
        await gate.worker.terminate()
        await asyncio.to_thread(broker.kill)
        cut(broker, gate.topics.consents, 10)
        await asyncio.to_thread(broker.start)
        async with open_producer(broker.bootstrap_servers) as producer:
            for number in range(15):
                value = gate.events.against("withdrawal", f"q-{number}", f"w-{number}")
                await producer.send_and_wait(gate.topics.consents, value, key=b"q-%d" % number, partition=0)
            value = gate.events.transfer(PROSPECT, "t-2")
            await producer.send_and_wait(gate.topics.transfers, value, key=PROSPECT.encode(), partition=0)
        worker = gate.place.start_worker("without_running_epochs")
        assert await worker.ended() == 1, worker.tail()
        log = worker.log.read_text(encoding="utf-8")
        assert "Traceback" not in log
        assert f"partition 0 of {gate.topics.consents} lost records that were acknowledged" in log
        assert "taken up to offset 20, and the log of that epoch ends at 10 now" in log
        assert (await gate.committed())[gate.topics.transfers, 0] == first + 1

        (consents,) = places_of([gate.topics.consents], 1)
        await set_offsets(broker.bootstrap_servers, gate.place.app_id, {consents: 0})
        await gate.place.start_worker().until_ready()
        await gate.settled()


async def transfer(gate: StreamGate, event_id: str) -> int:
    value = gate.events.transfer(PROSPECT, event_id)
    return (await gate.send(gate.topics.transfers, value, PROSPECT.encode())).place[2]
