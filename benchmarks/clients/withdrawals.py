"""Withdrawal → enforced: from just before a withdrawal is produced, to the verdict on a transfer sent right behind it.

The transfer is sent as soon as the broker has acknowledged the withdrawal; the peer does well when it is held. With a
background of other transfers at RATE.

python -m benchmarks.clients.withdrawals BOOTSTRAP TRANSFERS CONSENTS PARTITIONS FILE RATE PROBES QUARANTINE OUTPUT...
"""

import datetime as dt
import sys
import threading
import time
from pathlib import Path

import orjson
from confluent_kafka import Producer

from benchmarks.clients import lines
from benchmarks.clients.ends import Reader


class Background:
    """Other transfers at a steady rate, until stopped."""

    def __init__(self, producer: Producer, topic: str, events: list[tuple[bytes, bytes]], rate: int) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(producer, topic, events, rate))
        self._thread.start()

    def stop(self) -> None:
        """Wait until the last one is handed over."""
        self._stop.set()
        self._thread.join()

    def _run(self, producer: Producer, topic: str, events: list[tuple[bytes, bytes]], rate: int) -> None:
        began = time.perf_counter()
        for number, (key, value) in enumerate(events):
            if self._stop.wait(max(0.0, began + number / rate - time.perf_counter())):
                return
            producer.produce(topic, value, key)


def main(
    bootstrap_servers: str,
    transfers: str,
    consents: str,
    partitions: int,
    path: Path,
    rate: int,
    probes: int,
    quarantine: str,
    outputs: list[str],
) -> None:
    events = list(lines.read(path))
    producer = Producer(
        {"bootstrap.servers": bootstrap_servers, "acks": "all", "linger.ms": 0, "partitioner": "murmur2_random"}
    )
    reader = Reader(bootstrap_servers, [quarantine, *outputs], partitions)
    background = Background(producer, transfers, events[probes:], rate)
    seconds: list[float] = []
    leaked = 0
    time.sleep(2)
    for number, (key, value) in enumerate(events[:probes]):
        event = f"withdrawal-probe-{number}"
        withdrawal = {
            "event_id": f"w-{number}",
            "prospect_id": key.decode(),
            "type": "withdrawal",
            "event_time": dt.datetime.now(dt.UTC),
        }
        acknowledged = threading.Event()
        began = time.perf_counter()
        producer.produce(consents, orjson.dumps(withdrawal), key, on_delivery=lambda *_, done=acknowledged: done.set())
        while not acknowledged.is_set():
            producer.poll(0.001)
        producer.produce(transfers, orjson.dumps(orjson.loads(value) | {"event_id": event}), key)
        while event not in reader.seen and time.perf_counter() < began + 40:
            producer.poll(0.001)
        at, topic = reader.seen.get(event, (began + 40, ""))
        seconds.append(at - began)
        leaked += topic != quarantine
    background.stop()
    producer.flush(30)
    reader.close()
    sys.stdout.buffer.write(orjson.dumps({"seconds": seconds, "released_after_withdrawal": leaked}))


if __name__ == "__main__":
    args = sys.argv[1:]
    main(args[0], args[1], args[2], int(args[3]), Path(args[4]), int(args[5]), int(args[6]), args[7], args[8:])
