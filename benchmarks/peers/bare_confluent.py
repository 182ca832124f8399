"""A limit: a loop on confluent-kafka with a dict, one transaction a batch. Exactly once, no changelog of its state."""

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from benchmarks.peers import job

BATCH = 5000


def main() -> None:
    reader = Consumer(
        {
            "bootstrap.servers": job.BOOTSTRAP_SERVERS,
            "group.id": job.GROUP,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": job.BOOTSTRAP_SERVERS,
            "transactional.id": job.GROUP,
            "queue.buffering.max.messages": 500_000,
        }
    )
    producer.init_transactions()
    consents = [TopicPartition(job.CONSENTS, number, 0) for number in range(job.PARTITIONS)]
    transfers = [TopicPartition(job.TRANSFERS, number, 0) for number in range(job.PARTITIONS)]
    table: dict[bytes | None, bytes] = {}
    reader.assign(consents)
    left = sum(reader.get_watermark_offsets(place, timeout=10)[1] for place in consents)
    while left:
        batch = reader.consume(BATCH, timeout=0.1)
        table.update((message.key(), message.value()) for message in batch)
        left -= len(batch)
    reader.incremental_assign(transfers)
    while True:
        batch = [message for message in reader.consume(BATCH, timeout=0.01) if message.error() is None]
        if batch:
            _transaction(reader, producer, table, batch)


def _transaction(reader: Consumer, producer: Producer, table: dict[bytes | None, bytes], batch: list[Message]) -> None:
    producer.begin_transaction()
    for message in batch:
        key, value = message.key(), message.value()
        if message.topic() == job.CONSENTS:
            table[key] = value
        else:
            producer.produce(job.PARTNER if job.grants(table.get(key), value) else job.QUARANTINE, value, key)
    places = reader.position(reader.assignment())
    producer.send_offsets_to_transaction(
        [place for place in places if place.offset >= 0], reader.consumer_group_metadata()
    )
    producer.commit_transaction()


if __name__ == "__main__":
    main()
