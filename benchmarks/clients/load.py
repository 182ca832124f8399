"""Produce a file of events in bulk: python -m benchmarks.clients.load BOOTSTRAP TOPIC FILE."""

import sys
from pathlib import Path

from confluent_kafka import Producer

from benchmarks.clients import lines


def main(bootstrap_servers: str, topic: str, path: str) -> None:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 20,
            # The partitioner of the Java client, which the contract asks for.
            "partitioner": "murmur2_random",
        }
    )
    for key, value in lines.read(Path(path)):
        while True:
            try:
                producer.produce(topic, value, key)
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(60):
        raise SystemExit("records were not acknowledged")


if __name__ == "__main__":
    main(*sys.argv[1:])
