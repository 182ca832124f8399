"""A limit: a loop on aiokafka with a dict, `send` per record. At least once, no group, no changelog, no rebalance."""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.peers import job


async def main() -> None:
    reader = AIOKafkaConsumer(
        bootstrap_servers=job.BOOTSTRAP_SERVERS, auto_offset_reset="earliest", max_partition_fetch_bytes=2 << 20
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=job.BOOTSTRAP_SERVERS, acks="all", linger_ms=5, max_batch_size=1 << 18
    )
    await reader.start()
    await producer.start()
    consents = [TopicPartition(job.CONSENTS, number) for number in range(job.PARTITIONS)]
    transfers = [TopicPartition(job.TRANSFERS, number) for number in range(job.PARTITIONS)]
    table: dict[bytes | None, bytes] = {}
    reader.assign(consents)
    ends = await reader.end_offsets(consents)
    while any([await reader.position(place) < end for place, end in ends.items()]):
        for records in (await reader.getmany(timeout_ms=100, max_records=5000)).values():
            table.update((record.key, record.value) for record in records)
    reader.assign([*consents, *transfers])
    for place, end in ends.items():
        reader.seek(place, end)
    while True:
        fetched = await reader.getmany(timeout_ms=200, max_records=5000)
        for place, records in fetched.items():
            if place.topic == job.CONSENTS:
                table.update((record.key, record.value) for record in records)
                continue
            for record in records:
                topic = job.PARTNER if job.grants(table.get(record.key), record.value) else job.QUARANTINE
                await producer.send(topic, record.value, record.key)


if __name__ == "__main__":
    asyncio.run(main())
