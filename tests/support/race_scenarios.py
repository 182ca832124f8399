"""How races are set up: plain, behind a crowd of consents, in and around upstream transactions."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from tests.support.clients import open_producer, partition_of
from tests.support.events import Against, Events
from tests.support.races import Observer, Race
from tests.support.workers import Installation

#: How many races are in the air at once: enough to batch, few enough for a transfer to follow its acknowledgement.
AT_ONCE: Final = 64
#: Races behind one burst, or around one upstream transaction.
TOGETHER: Final = 80
#: Consents in front of the withdrawals of one burst, all in one partition.
BURST: Final = 3000
#: The event that forbids the n-th transfer; where there is none, the transfer has to be released.
KINDS: Final[tuple[Against | None, ...]] = (
    "withdrawal",
    "objection",
    "erasure",
    "unreadable",
    "withdrawal",
    "objection",
    None,
)

_labels: Final = itertools.count()


class Racer:
    """Makes races on one installation; its prospects are its own."""

    def __init__(self, place: Installation, producer: AIOKafkaProducer, events: Events) -> None:
        self.place = place
        self.producer = producer
        self.events = events
        self.made: list[Race] = []
        self._names = (f"p{label}-{number}" for label in (next(_labels),) for number in itertools.count())

    @property
    def count(self) -> int:
        """How many of the races made have something against them."""
        return sum(1 for race in self.made if race.against)

    def names(self, count: int, partition: int | None = None) -> list[str]:
        """New prospects, all of one partition if wished."""
        fit = (
            name
            for name in self._names
            if partition is None or partition_of(name.encode(), self.place.partitions) == partition
        )
        return list(itertools.islice(fit, count))

    async def prospects(self, count: int, partition: int | None = None) -> list[str]:
        """New prospects with a valid consent that the broker acknowledged."""
        names = self.names(count, partition)
        await asyncio.gather(*[await self.send_consent(name) for name in names])
        return names

    async def send_consent(self, name: str) -> asyncio.Future[RecordMetadata]:
        """A valid consent, on its way; the future is its acknowledgement."""
        return await self._send(self.producer, self.place.topics.consents, name, self.events.consent(name, f"c-{name}"))

    async def send_against(
        self, name: str, against: Against, producer: AIOKafkaProducer | None = None
    ) -> asyncio.Future[RecordMetadata]:
        """An event that forbids, on its way, maybe in somebody's transaction."""
        value = self.events.against(against, name, f"x-{name}")
        return await self._send(producer or self.producer, self.place.topics.consents, name, value)

    async def race(self, name: str, against: Against | None) -> None:
        """Forbid, wait for the acknowledgement, and only then ask for the transfer."""
        offset = (await (await self.send_against(name, against))).offset if against else -1
        await self.transfer(name, against, offset)

    async def transfer(self, name: str, against: Against | None, offset: int) -> None:
        """Ask for a transfer while `against` is acknowledged at `offset` of the consent topic."""
        race = Race(name, f"t-{name}", against, offset)
        self.made.append(race)
        value = self.events.transfer(name, race.event_id)
        await self._send(self.producer, self.place.topics.transfers, name, value)

    async def run(self, prospects: Sequence[str]) -> None:
        """Race for each of these prospects, AT_ONCE at a time."""
        waiting = iter(zip(prospects, itertools.cycle(KINDS)))

        async def lane() -> None:
            for name, against in waiting:
                await self.race(name, against)

        await asyncio.gather(*(lane() for _ in range(AT_ONCE)))
        await self.producer.flush()

    @staticmethod
    async def _send(producer: AIOKafkaProducer, topic: str, name: str, value: bytes) -> asyncio.Future[RecordMetadata]:
        sent: asyncio.Future[RecordMetadata] = await producer.send(topic, key=name.encode(), value=value)
        return sent


@asynccontextmanager
async def racing(place: Installation, events: Events) -> AsyncIterator[tuple[Racer, Observer]]:
    """A racer, and an observer that reads what comes out of its races."""
    async with open_producer(place.bootstrap_servers) as producer, Observer().watching(place) as observer:
        yield Racer(place, producer, events), observer


async def plain(racer: Racer, count: int) -> None:
    """A transfer right behind each acknowledged event."""
    while racer.count < count:
        await racer.run(await racer.prospects(1000))


async def behind_bursts(racer: Racer, count: int) -> None:
    """Races of which each stands behind thousands of consents in its own partition."""
    for partition in itertools.cycle(range(racer.place.partitions)):
        if racer.count >= count:
            return
        prospects = await racer.prospects(TOGETHER, partition)
        crowd = [await racer.send_consent(name) for name in racer.names(BURST, partition)]
        await asyncio.gather(*map(racer.race, prospects, itertools.cycle(KINDS)), *crowd)


async def after_commits(racer: Racer, count: int) -> None:
    """Transfers right behind the commit of an upstream transaction with the events against them."""
    async with upstream(racer.place) as source:
        while racer.count < count:
            prospects = await racer.prospects(TOGETHER)
            await source.begin_transaction()
            offsets = await _forbid(racer, prospects, KINDS, source)
            await source.commit_transaction()
            for name, against in zip(prospects, itertools.cycle(KINDS)):
                await racer.transfer(name, against, offsets.get(name, -1))


async def beside_aborts(racer: Racer, count: int) -> None:
    """Half of the events in a transaction that is aborted, half of them plain beside them in the log."""
    async with upstream(racer.place) as source:
        while racer.count < count:
            aborted, beside = await racer.prospects(TOGETHER), await racer.prospects(TOGETHER)
            await source.begin_transaction()
            void = await _forbid(racer, aborted, ("withdrawal",), source)
            told, _ = await asyncio.gather(_forbid(racer, beside, ("withdrawal",)), source.abort_transaction())
            for one, other in zip(aborted, beside, strict=True):
                await racer.transfer(one, None, void[one])
                await racer.transfer(other, "withdrawal", told[other])


async def behind_open_transactions(
    racer: Racer, count: int, while_open: Callable[[list[Race], list[Race]], Awaitable[None]]
) -> None:
    """Transfers behind acknowledged plain withdrawals, behind somebody's open transaction, in every partition.

    `while_open` gets the races of the transaction's own prospects and those of the plain withdrawals behind it. Every
    other transaction is aborted in the end: its withdrawals then never happened.
    """
    async with upstream(racer.place) as source:
        for commits in itertools.cycle((True, False)):
            if racer.count >= count:
                return
            inside, behind = await racer.prospects(TOGETHER), await racer.prospects(TOGETHER)
            begin = len(racer.made)
            await source.begin_transaction()
            offsets = await _forbid(racer, inside, ("withdrawal",), source)
            told = await _forbid(racer, behind, ("withdrawal",))
            for name in inside:
                await racer.transfer(name, "withdrawal" if commits else None, offsets[name])
            for name in behind:
                await racer.transfer(name, "withdrawal", told[name])
            await racer.producer.flush()
            made = racer.made[begin:]
            await while_open(made[:TOGETHER], made[TOGETHER:])
            await (source.commit_transaction() if commits else source.abort_transaction())


def upstream(place: Installation) -> AbstractAsyncContextManager[AIOKafkaProducer]:
    """Somebody else's transactional producer."""
    return open_producer(place.bootstrap_servers, f"{place.app_id}-upstream-{next(_labels)}")


async def _forbid(
    racer: Racer,
    prospects: Sequence[str],
    kinds: Sequence[Against | None],
    producer: AIOKafkaProducer | None = None,
) -> dict[str, int]:
    """Forbid each, maybe within a transaction; returns the acknowledged offsets."""
    sent = {
        name: await racer.send_against(name, against, producer)
        for name, against in zip(prospects, itertools.cycle(kinds))
        if against
    }
    await asyncio.gather(*sent.values())
    return {name: told.result().offset for name, told in sent.items()}
