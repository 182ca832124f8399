"""When a worker of any kind is at work: a first transfer comes out at the other end."""

import asyncio
import time

import orjson
from aiokafka import AIOKafkaProducer

from benchmarks.bench import PARTITIONS, Bench, Outputs
from benchmarks.rivals import Entry

MOST_SECONDS = 90.0


async def until_ready(bench: Bench, entry: Entry, topic: str) -> None:
    """Send one transfer to every partition and wait until as many outputs came. Raises RuntimeError when none do."""
    producer = AIOKafkaProducer(bootstrap_servers=bench.bootstrap_servers)
    await producer.start()
    try:
        async with Outputs(bench, entry.counted) as outputs:
            for number in range(PARTITIONS):
                await producer.send_and_wait(topic, orjson.dumps({"event_id": f"ready-{number}"}), b"ready", number)
            deadline = time.monotonic() + MOST_SECONDS
            while await outputs.count() < PARTITIONS:
                for process in entry.processes:
                    process.check()
                if time.monotonic() > deadline:
                    raise RuntimeError(f"nothing came out in {MOST_SECONDS:g} s")
                await asyncio.sleep(0.1)
    finally:
        await producer.stop()
