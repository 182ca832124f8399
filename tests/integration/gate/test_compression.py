"""Producers compress as they like: the gate reads every codec of Kafka, for transfers and for consents."""

from typing import Final, Literal

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from tests.support.stream_gate import Outputs, StreamGate

CODECS: Final[tuple[Literal["gzip", "snappy", "lz4", "zstd"], ...]] = ("gzip", "snappy", "lz4", "zstd")
#: Equal records in one batch, so that compression pays and the producer keeps it.
RECORDS: Final = 20


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outputs(gate: StreamGate) -> Outputs:
    """A batch of consents and a batch of transfers in every codec."""
    topics = gate.topics
    for codec in CODECS:
        prospect = f"zip-{codec}"
        async with AIOKafkaProducer(bootstrap_servers=gate.place.bootstrap_servers, compression_type=codec) as producer:
            for topic, value in (
                (topics.consents, gate.events.consent(prospect, "given")),
                (topics.transfers, gate.events.transfer(prospect, f"event-{prospect}")),
            ):
                batch = producer.create_batch()
                for _ in range(RECORDS):
                    batch.append(key=prospect.encode(), value=value, timestamp=None)
                await (await producer.send_batch(batch, topic, partition=gate.home(prospect)))
    return await gate.outputs()


@pytest.mark.parametrize("codec", CODECS)
def test_compressed_records_are_decided_like_others(outputs: Outputs, codec: str) -> None:
    released = outputs.released_to("acme", f"zip-{codec}")
    assert [body["channels"] for body in released] == [["email", "sms"]] * RECORDS
