"""Produce what the demo streams: histories, transfers, and people who change their minds meanwhile."""

import asyncio
import datetime as dt
import time
from typing import Final

from aiokafka import AIOKafkaProducer
from msgspec import Struct

from transfer_gate.kafka.clients import client_options, connected
from transfer_gate.local.people import Person
from transfer_gate.local.sample import Sample
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
