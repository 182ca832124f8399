"""One gate with one real worker: give it records, wait until it has committed them, read everything that it wrote."""

import asyncio
import datetime as dt
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import murmur2

from tests.support.clients import open_producer, open_reader, places_of, read_all
from tests.support.events import Events
from tests.support.registry import PARTNERS, write_registry
from tests.support.topics import admin_of, configure_topic
from tests.support.workers import PATIENCE, Installation, Launcher, Worker
from transfer_gate.gate.inbox import Record

RecordHeaders = Sequence[tuple[str, bytes | None]]
#: The topic has the broker's time, not the producer's.
_LOG_APPEND_TIME = 1
#: Topic, partition, offset.
Place = tuple[str, int, int]


@dataclass(frozen=True)
class Sent:
    """A record as it was produced, and where it stands."""

    place: Place
    key: bytes | None
    value: bytes | None
    headers: RecordHeaders
    timestamp_ms: int


def json_of(record: Record | Sent) -> dict[str, Any]:
    """The value of a record that is a JSON object; by the standard library, which reads integers of any length."""
    assert record.value is not None
    body: dict[str, Any] = json.loads(record.value)
    return body


@dataclass
class Outputs:
    """Everything that a gate has committed, by the place of the input that it is about."""

    quarantine: dict[Place, list[Record]] = field(default_factory=dict)
    decisions: dict[Place, list[Record]] = field(default_factory=dict)
    #: By party id; released records don't name their source.
    released: dict[str, list[Record]] = field(default_factory=dict)
    changelog: list[Record] = field(default_factory=list)

    def held(self, sent: Sent) -> list[Record]:
        """Quarantine records of an input record."""
        return self.quarantine.get(sent.place, [])

    def decided(self, sent: Sent) -> list[dict[str, Any]]:
        """Decision records of an input record."""
        return [json_of(record) for record in self.decisions.get(sent.place, [])]

    def released_to(self, partner: str, *prospects: str) -> list[dict[str, Any]]:
        """What a partner got of these prospects."""
        return [body for record in self.released[partner] if (body := json_of(record))["prospect_id"] in prospects]


class StreamGate:
    """An installation with a producer that writes to the partition it is told."""

    def __init__(self, place: Installation, producer: AIOKafkaProducer, events: Events) -> None:
        self.place = place
        self.producer = producer
        self.events = events
        self.topics = place.topics

    @property
    def worker(self) -> Worker:
        """The worker that was started last."""
        return self.place.workers[-1]

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: RecordHeaders = (),
        partition: int = 0,
        timestamp_ms: int | None = None,
        *,
        misplaced: bool = False,
    ) -> Sent:
        """Produce one record and wait for its acknowledgement; `timestamp_ms` defaults to now.

        Inputs with a key go where Kafka's partitioner puts them, unless they shall be `misplaced`; `partition` is for
        all others.

        What is returned has the timestamp that the record got, which may be the broker's.
        """
        stamp = int(time.time() * 1000) if timestamp_ms is None else timestamp_ms
        if key is not None and topic != self.topics.replay and not misplaced:
            partition = self.home(key.decode(errors="surrogateescape"))
        batch = self.producer.create_batch()  # `send` refuses a record without key and value
        batch.append(key=key, value=value, timestamp=stamp, headers=list(headers))
        done = await (await self.producer.send_batch(batch, topic, partition=partition))
        if done.timestamp_type == _LOG_APPEND_TIME:
            stamp = done.timestamp
        return Sent((topic, partition, done.offset), key, value, tuple(headers), stamp)

    def home(self, prospect: str) -> int:
        """The partition of a prospect."""
        placed: int = murmur2(prospect.encode(errors="surrogateescape")) % 2**31 % self.place.partitions
        return placed

    async def consent(self, prospect: str) -> Sent:
        """Let e-mail and SMS of this prospect go to every partner."""
        value = self.events.consent(prospect, f"consent-{prospect}")
        return await self.send(self.topics.consents, value, prospect.encode())

    async def settled(self, patience: float = PATIENCE) -> None:
        """Wait until the group has committed everything that stands in the input topics now."""
        inputs = [self.topics.transfers, self.topics.consents, self.topics.replay, self.topics.strays]
        places = places_of(inputs, self.place.partitions)
        async with open_reader(self.place.bootstrap_servers) as reader:
            found = await reader.end_offsets(places)
        ends = {(place.topic, place.partition): end for place, end in found.items() if end > 0}
        deadline = time.monotonic() + patience
        async with self.admin() as admin:
            while behind := _behind(await self._offsets(admin), ends):
                self.place.assert_none_gave_up()
                assert time.monotonic() < deadline, f"never committed: {behind}\n{self.place.tails()}"
                await asyncio.sleep(0.02)

    async def committed(self) -> dict[tuple[str, int], int]:
        """Next offset that the group has committed, by topic and partition."""
        async with self.admin() as admin:
            return await self._offsets(admin)

    async def limit(self, topic: str, largest: int) -> None:
        """Set `max.message.bytes` of a topic; its other settings become the broker's."""
        await configure_topic(self.place.bootstrap_servers, topic, {"max.message.bytes": str(largest)})

    def admin(self) -> AbstractAsyncContextManager[AIOKafkaAdminClient]:
        """An admin client of the cluster."""
        return admin_of(self.place.bootstrap_servers)

    async def _offsets(self, admin: AIOKafkaAdminClient) -> dict[tuple[str, int], int]:
        held = await admin.list_consumer_group_offsets(self.place.app_id)
        return {(place.topic, place.partition): offset.offset for place, offset in held.items()}

    async def outputs(self) -> Outputs:
        """Wait until settled, then read all that was committed."""
        await self.settled()
        topics = self.topics
        partners = {f"{topics.prefix}partner.{party}": party for party in PARTNERS}
        wanted = (topics.quarantine, topics.decisions, topics.changelog, *partners)
        read = Outputs(released={party: [] for party in PARTNERS})
        async for record in read_all(self.place.bootstrap_servers, wanted, self.place.partitions):
            if record.topic == topics.quarantine:
                sent = dict(record.headers)
                place = tuple((sent[f"tg-source-{part}"] or b"").decode() for part in ("topic", "partition", "offset"))
                read.quarantine.setdefault((place[0], int(place[1]), int(place[2])), []).append(record)
            elif record.topic == topics.decisions:
                source = json_of(record)["source"]
                read.decisions.setdefault((source["topic"], source["partition"], source["offset"]), []).append(record)
            elif record.topic == topics.changelog:
                read.changelog.append(record)
            else:
                read.released[partners[record.topic]].append(record)
        return read


def _behind(offsets: dict[tuple[str, int], int], ends: dict[tuple[str, int], int]) -> dict[tuple[str, int], int]:
    return {place: end for place, end in ends.items() if offsets.get(place, 0) < end}


@asynccontextmanager
async def open_gate(bootstrap_servers: str, folder: Path, **settings: Any) -> AsyncIterator[StreamGate]:
    """An installation of its own, its topics made and a first worker deciding; `settings` as for Installation."""
    async with open_launched_gate(bootstrap_servers, folder, None, **settings) as gate:
        yield gate


@asynccontextmanager
async def open_launched_gate(
    bootstrap_servers: str, folder: Path, launcher: Launcher | None, **settings: Any
) -> AsyncIterator[StreamGate]:
    """The same with a worker that a launcher has broken."""
    now = dt.datetime.now(dt.UTC)
    place = Installation(bootstrap_servers, write_registry(folder / "registry", now), folder, **settings)
    try:
        await asyncio.to_thread(place.apply_topics)
        worker = place.start_worker(launcher)
        async with open_producer(bootstrap_servers) as producer:
            await worker.until_ready()
            yield StreamGate(place, producer, Events(now))
    finally:
        place.close()
