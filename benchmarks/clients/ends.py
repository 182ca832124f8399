"""A `read_committed` reader at the end of the topics that a peer writes, and when it saw each event."""

import threading
import time
from typing import Final

import orjson
from confluent_kafka import Consumer, TopicPartition

#: The broker holds an empty fetch for this long; data ends it at once.
FETCH_WAIT_MS: Final = 100


class Reader:
    """Notes, for every event id, when its first record became visible and in which topic."""

    def __init__(self, bootstrap_servers: str, topics: list[str], partitions: int) -> None:
        self.seen: dict[str, tuple[float, str]] = {}
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "bench-reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": FETCH_WAIT_MS,
                # librdkafka fetches ahead and then waits before it asks again; at a trickle that is latency of ours.
                "fetch.queue.backoff.ms": 1,
            }
        )
        places = [TopicPartition(topic, number) for topic in topics for number in range(partitions)]
        for place in places:
            place.offset = self._consumer.get_watermark_offsets(place, timeout=30)[1]
        self._consumer.assign(places)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait(self, count: int, timeout: float) -> bool:
        """Whether `count` events were seen within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while len(self.seen) < count and time.monotonic() < deadline:
            time.sleep(0.005)
        return len(self.seen) >= count

    def close(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()
        self._consumer.close()

    def _read(self) -> None:
        while not self._stopped.is_set():
            # One by one: `consume` would wait until its batch is full or its time is over.
            message = self._consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            now = time.perf_counter()
            self.seen.setdefault(orjson.loads(message.value())["event_id"], (now, message.topic()))
