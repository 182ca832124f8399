"""Load for crash tests: transfers of every outcome, and consents that change at the same time."""

import asyncio
import random
from typing import Final

from aiokafka import AIOKafkaProducer

from tests.support.balance import STRANGER
from tests.support.events import AGAINST, CHANNELS, Events
from tests.support.registry import PARTNERS
from tests.support.workers import Installation

#: Acknowledgements that are waited for at a time.
_WINDOW: Final = 2000


class Load:
    """Writes transfers and consent events of a crowd of prospects; what it wrote is acknowledged, exactly once."""

    def __init__(
        self, place: Installation, producer: AIOKafkaProducer, events: Events, chance: random.Random, prospects: int
    ) -> None:
        self.transfers = 0
        self.consents = 0
        self._place = place
        self._producer = producer
        self._events = events
        self._chance = chance
        self._prospects = prospects

    async def feed(self, transfers: int) -> None:
        """Write this many transfers, and a third as many consent events between them."""
        topics, waiting = self._place.topics, []
        for _ in range(transfers):
            key, value = self._transfer()
            waiting.append(await self._producer.send(topics.transfers, key=key, value=value))
            if self._chance.random() < 1 / 3:
                key, value = self._consent()
                waiting.append(await self._producer.send(topics.consents, key=key, value=value))
            if len(waiting) >= _WINDOW:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)

    def _someone(self) -> str:
        return f"p-{self._chance.randrange(self._prospects)}"

    def _transfer(self) -> tuple[bytes, bytes]:
        number, who, chance = self.transfers, self._someone(), self._chance.random()
        self.transfers += 1
        key, event_id = who.encode(), f"t-{number}"
        if chance < 0.01:
            return key, b"no json at all, number %d" % number
        if chance < 0.02:
            return key, b'{"event_id": "%s", "prospect_id": "%s"}' % (event_id.encode(), key)
        if chance < 0.03:
            return b"somebody-else", self._events.transfer(who, event_id)
        partners = self._chance.sample(PARTNERS, self._chance.randint(1, len(PARTNERS)))
        if chance < 0.05:
            partners.append(STRANGER)
        channels = CHANNELS if chance < 0.7 else CHANNELS[:1]
        return key, self._events.transfer(who, event_id, partners, channels)

    def _consent(self) -> tuple[bytes, bytes]:
        number, who, chance = self.consents, self._someone(), self._chance.random()
        self.consents += 1
        key, event_id = who.encode(), f"c-{number}"
        if chance < 0.85:
            named = self._chance.sample(PARTNERS, self._chance.randint(1, len(PARTNERS)))
            return key, self._events.consent(who, event_id, record_id=f"r-{number % 3}", party_ids=named)
        return key, self._events.against(self._chance.choice(list(AGAINST)), who, event_id)
