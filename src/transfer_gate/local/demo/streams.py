"""What the demo streams: produced histories and transfers, and what partners and quarantine get."""

import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from transfer_gate.kafka import ConsumerRecord
from transfer_gate.kafka.reader import Reader
from transfer_gate.kafka.session import Session
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


async def send_histories(session: Session, sample: Sample, feed: Feed) -> None:
    """Produce every consent history and wait for the acknowledgements."""
    for message in sample.consents():
        await session.producer.enqueue(session.settings.topics.consents, message.key, message.value)
        feed.consents += 1
    await session.producer.flush()


async def send_transfers(
    session: Session, sample: Sample, feed: Feed, *, count: int, rate: float, changes: int
) -> None:
    """Produce `count` transfers at `rate` a second, and spread `changes` changes of mind over them."""
    willing = sample.willing()
    changes = min(changes, len(willing) // 2, count)
    every = count // changes if changes else count + 1
    changed: set[bytes | None] = set()
    try:
        started = time.monotonic()
        for number, message in enumerate(sample.transfers(count), start=1):
            if message.key in changed:
                feed.behind.add(message.event_id)
            await session.producer.enqueue(session.settings.topics.transfers, message.key, message.value)
            feed.transfers += 1
            if number % every == 0 and feed.changes < changes:
                person, control = willing[2 * feed.changes], willing[2 * feed.changes + 1]
                await _change_of_mind(session, sample, feed, person, control)
                changed.add(person.key)
            if number % _STRIDE == 0:
                await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
    finally:
        await session.producer.flush()
        feed.finished = True


async def _change_of_mind(session: Session, sample: Sample, feed: Feed, person: Person, control: Person) -> None:
    """Send a withdrawal, wait for its acknowledgement, and at once a transfer of that person right behind it."""
    change = sample.change_of_mind(person, feed.changes, dt.datetime.now(dt.UTC))
    await session.producer.write(session.settings.topics.consents, None, change.key, change.value)
    feed.changes += 1
    for who, events in ((person, feed.behind), (control, feed.controls)):
        wish = sample.wish(who)
        events.add(wish.event_id)
        await session.producer.write(session.settings.topics.transfers, None, wish.key, wish.value)
        feed.transfers += 1


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

    async def follow(self, reader: Reader, partitions: int) -> None:
        """Count until cancelled."""
        async with reader.follow(dict.fromkeys(self._topics, partitions)) as follower:
            while True:
                for record in await follower.more():
                    quarantined = record.topic == self._settings.topics.quarantine
                    (self._take_held if quarantined else self._take_released)(record)
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
