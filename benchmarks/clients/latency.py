"""End to end at a steady rate: from just before the produce call to the record at a `read_committed` reader.

python -m benchmarks.clients.latency BOOTSTRAP TRANSFERS PARTITIONS FILE RATE OUTPUT...   prints JSON, seconds
"""

import sys
import time
from pathlib import Path

import orjson
from confluent_kafka import Producer

from benchmarks.clients import lines
from benchmarks.clients.ends import Reader

#: The first part is left out: connections, caches and, for Java, its compiler.
WARM_UP_SHARE = 0.4


def main(bootstrap_servers: str, topic: str, partitions: int, path: Path, rate: int, outputs: list[str]) -> None:
    events = list(lines.read(path))
    names = [orjson.loads(value)["event_id"] for _, value in events]
    reader = Reader(bootstrap_servers, outputs, partitions)
    producer = Producer(
        {"bootstrap.servers": bootstrap_servers, "acks": "all", "linger.ms": 0, "partitioner": "murmur2_random"}
    )
    sent: list[float] = []
    began = time.perf_counter()
    for number, (key, value) in enumerate(events):
        if (wait := began + number / rate - time.perf_counter()) > 0:
            time.sleep(wait)
        sent.append(time.perf_counter())
        producer.produce(topic, value, key)
        producer.poll(0)
    lasted = time.perf_counter() - began
    producer.flush(30)
    complete = reader.wait(len(events), 60)
    reader.close()
    measured = range(int(len(events) * WARM_UP_SHARE), len(events))
    seconds = [reader.seen[names[n]][0] - sent[n] for n in measured if names[n] in reader.seen]
    result = {"seconds": seconds, "complete": complete, "sent_per_second": len(events) / lasted}
    sys.stdout.buffer.write(orjson.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]), sys.argv[6:])
