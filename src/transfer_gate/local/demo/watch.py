"""Follow what comes out, as partners would: a `read_committed` consumer on partner topics and quarantine."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from msgspec import Struct

from transfer_gate.kafka.clients import client_options, connected
from transfer_gate.records import headers as names
from transfer_gate.records.released import ReleasedRecord
from transfer_gate.settings import Settings

_POLL_MS: Final = 200

_RELEASED: Final = msgspec.json.Decoder(ReleasedRecord)
_REASONS: Final = msgspec.json.Decoder(dict[str, tuple[str, ...]])


class Held(Struct, frozen=True):
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
        self.examples: dict[str, Held] = {}
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
        ours = dict(record.headers)
        if ours[names.STAGE] == b"consent":
            return  # a copy of an unreadable consent event: no transfer ended here
        reasons = _REASONS.decode(ours[names.REASONS])
        for of_channel in reasons.values():
            self.held[of_channel[0]] += 1
        partner = ours.get(names.PARTNER, b"").decode()
        if partner and record.value is not None:
            self.examples.setdefault(next(iter(reasons.values()))[0], Held(record.value, partner, reasons))
