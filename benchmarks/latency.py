"""End-to-end latency at a steady trickle: from just before the produce call to the record at a `read_committed` reader.

python -m benchmarks.latency [--rate 500] [--seconds 20]
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks import common
from transfer_gate.model.topics import Topics
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings


async def measure(
    settings: Settings, topics: Topics, rate: int, seconds: int, transfers: list[common.Message]
) -> list[float]:
    """Latencies in seconds, one for each transfer, without the first quarter (warm-up)."""
    reader = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, isolation_level="read_committed", fetch_max_wait_ms=100
    )
    await reader.start()
    outputs = {*topics.partners(load_registry(settings.registry)).values(), topics.quarantine}
    places = [TopicPartition(topic, number) for topic in outputs for number in range(common.PARTITIONS)]
    reader.assign(places)
    await reader.seek_to_end(*places)
    for place in places:
        await reader.position(place)
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, acks="all", linger_ms=0)
    await producer.start()
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}

    async def read() -> None:
        while len(seen) < len(transfers):
            for records in (await reader.getmany(timeout_ms=200)).values():
                now = time.perf_counter()
                for record in records:
                    seen.setdefault(orjson.loads(record.value)["event_id"], now)

    reading = asyncio.create_task(read())
    began = time.perf_counter()
    for number, message in enumerate(transfers):
        if (wait := began + number / rate - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        sent[message.event_id] = time.perf_counter()
        await producer.send(topics.transfers, key=message.key, value=message.value)
    await asyncio.wait_for(reading, timeout=60 + seconds)
    await producer.stop()
    await reader.stop()
    ordered = [seen[event] - at for event, at in sent.items()]
    return ordered[len(ordered) // 4 :]


async def run(rate: int, seconds: int) -> dict[str, object]:
    """Prepare, warm up, measure."""
    with common.scratch_kafka() as kafka, tempfile.TemporaryDirectory(prefix="transfer-gate-bench-") as folder:
        settings = common.settings_for(kafka, "gate", Path(folder))
        await common.prepare(settings)
        people = common.sample(5_000)
        await common.produce(settings, settings.topics.consents, people.consents())
        readable = list(common.well_formed(people.transfers(2 * rate * seconds)))
        async with common.worker(settings) as process:
            await process.until_ready()
            latencies = sorted(await measure(settings, settings.topics, rate, seconds, readable[: rate * seconds]))
            cpu = common.Meter(settings, process.pid).cpu_seconds()
    quantile = {f"p{int(q * 100)}_ms": round(latencies[int(len(latencies) * q)] * 1000, 1) for q in (0.5, 0.9, 0.99)}
    return {"machine": common.machine(), "rate": rate, "transfers": len(latencies), **quantile, "worker_cpu_s": cpu}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args()
    result = asyncio.run(run(options.rate, options.seconds))
    sys.stdout.write(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode() + "\n")


if __name__ == "__main__":
    main()
