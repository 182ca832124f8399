"""What the demo streams: produced histories and transfers, and what partners and quarantine get."""

import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from msgspec import Struct

from transfer_gate.kafka.clients import client_options, connected
from transfer_gate.local.people import Person
from transfer_gate.local.sample import Sample
from transfer_gate.records import headers as names
from transfer_gate.records.released import ReleasedRecord
from transfer_gate.settings import Settings

#: Records between two looks at the clock.
_STRIDE: Final = 50


class Feed(Struct):
    """What was sent so far.

    `behind`: events sent after the broker acknowledged that their prospect had changed their mind: none may be
    released.
    `controls`: the same kind of transfer, sent at the same moments, of people who did not: all should be.
    """

    consents: int = 0
    transfers: int = 0
    changes: int = 0
    finished: bool = False
    behind: set[str] = set()
    controls: set[str] = set()


async def send_histories(settings: Settings, sample: Sample, feed: Feed) -> None:
    """Produce every consent history and wait for the acknowledgements."""
    producer = AIOKafkaProducer(**client_options(settings), linger_ms=20, max_batch_size=128 * 1024)
    async with connected(producer):
        for message in sample.consents():
            await producer.send(settings.topics.consents, message.value, message.key)
            feed.consents += 1


async def send_transfers(
    settings: Settings, sample: Sample, feed: Feed, *, count: int, rate: float, changes: int
) -> None:
    """Produce `count` transfers at `rate` a second, and spread `changes` changes of mind over them."""
    bulk = AIOKafkaProducer(**client_options(settings), linger_ms=10, max_batch_size=128 * 1024)
    prompt = AIOKafkaProducer(**client_options(settings), acks="all")
    willing = sample.willing()
    changes = min(changes, len(willing) // 2, count)
    every = count // changes if changes else count + 1
    changed: set[bytes | None] = set()
    try:
        await asyncio.gather(bulk.start(), prompt.start())
        started = time.monotonic()
        for number, message in enumerate(sample.transfers(count), start=1):
            if message.key in changed:
                feed.behind.add(message.event_id)
            await bulk.send(settings.topics.transfers, message.value, message.key)
            feed.transfers += 1
            if number % every == 0 and feed.changes < changes:
                person, control = willing[2 * feed.changes], willing[2 * feed.changes + 1]
                await _change_of_mind(settings, prompt, sample, feed, person, control)
                changed.add(person.key)
            if number % _STRIDE == 0:
                await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
    finally:
        await asyncio.gather(bulk.stop(), prompt.stop())
        feed.finished = True


async def _change_of_mind(
    settings: Settings, producer: AIOKafkaProducer, sample: Sample, feed: Feed, person: Person, control: Person
) -> None:
    """Send a withdrawal, wait for its acknowledgement, and at once a transfer of that person right behind it."""
    change = sample.change_of_mind(person, feed.changes, dt.datetime.now(dt.UTC))
    await producer.send_and_wait(settings.topics.consents, change.value, change.key)
    feed.changes += 1
    for who, events in ((person, feed.behind), (control, feed.controls)):
        wish = sample.wish(who)
        events.add(wish.event_id)
        await producer.send_and_wait(settings.topics.transfers, wish.value, wish.key)
        feed.transfers += 1


_POLL_MS: Final = 200

_RELEASED: Final = msgspec.json.Decoder(ReleasedRecord)
_REASONS: Final = msgspec.json.Decoder(dict[str, tuple[str, ...]])


class QuarantinedTransfer(Struct, frozen=True):
    """One quarantine record: what the source said, and the reasons by channel."""

    value: bytes
    partner: str
    reasons: dict[str, tuple[str, ...]]


class Watch:
    """Counts channels: `released` by (partner, channel), `held` by first reason; keeps an example of each reason."""

    def __init__(self, settings: Settings, partner_topics: Mapping[str, str]) -> None:
        self.released: Counter[tuple[str, str]] = Counter()
        self.held: Counter[str] = Counter()
        self.released_events: set[str] = set()
        self.examples: dict[str, QuarantinedTransfer] = {}
        self._grown = asyncio.Event()
        self._settings = settings
        self._topics = (*partner_topics.values(), settings.topics.quarantine)

    @property
    def outcomes(self) -> int:
        """How many channels came out by now, here or there."""
        return self.released.total() + self.held.total()

    async def until(self, outcomes: int) -> None:
        """Wait until at least so many channels came out."""
        while self.outcomes < outcomes:
            self._grown.clear()
            await self._grown.wait()

    async def follow(self, partitions: int) -> None:
        """Count until cancelled."""
        consumer = AIOKafkaConsumer(
            **client_options(self._settings), group_id=None, isolation_level="read_committed", enable_auto_commit=False
        )
        async with connected(consumer):
            places = [TopicPartition(topic, number) for topic in self._topics for number in range(partitions)]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            while True:
                fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=2000)
                for place, records in fetched.items():
                    take = self._take_held if place.topic == self._settings.topics.quarantine else self._take_released
                    for record in records:
                        take(record)
                if fetched:
                    self._grown.set()

    def _take_released(self, record: ConsumerRecord) -> None:
        released = _RELEASED.decode(record.value)
        self.released_events.add(released.event_id)
        for channel in released.channels:
            self.released[released.partner_id, channel] += 1

    def _take_held(self, record: ConsumerRecord) -> None:
        headers = dict(record.headers)
        if headers[names.STAGE] == b"consent":
            return  # a copy of an unreadable consent event: no transfer ended here
        reasons = _REASONS.decode(headers[names.REASONS])
        for of_channel in reasons.values():
            self.held[of_channel[0]] += 1
        partner = headers.get(names.PARTNER, b"").decode()
        if partner and record.value is not None:
            self.examples.setdefault(
                next(iter(reasons.values()))[0], QuarantinedTransfer(record.value, partner, reasons)
            )
