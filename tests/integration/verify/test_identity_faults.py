"""`audit` and `verify` find what a gate let slip that trusts places and names: each fault on topics prepared for it."""

import datetime as dt
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final
from zlib import crc32

import pytest
import pytest_asyncio
from aiokafka.admin import NewPartitions

from tests.support.clients import open_producer, partition_of, read_all
from tests.support.events import Events
from tests.support.former_gate import FormerGate
from tests.support.registry import write_registry
from tests.support.topics import admin_of, remake_topic
from transfer_gate.auditor.service import Auditor
from transfer_gate.gate.round import stray_headers
from transfer_gate.kafka.topics import apply_topics
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings
from transfer_gate.verify.account import verify

pytestmark = pytest.mark.asyncio(loop_scope="module")

_CHANNELS: Final = 2


class Site:
    """The topics of one fault, what was produced to them, and the gate that trusted them."""

    def __init__(self, bootstrap_servers: str, folder: Path, partitions: int) -> None:
        name = f"fault-{uuid.uuid4().hex[:10]}"
        now = dt.datetime.now(dt.UTC)
        self.partitions = partitions
        self.settings = Settings(
            _env_file=None,  # type: ignore[call-arg]
            bootstrap_servers=bootstrap_servers,
            security_protocol="PLAINTEXT",
            topic_prefix=f"{name}.",
            app_id=name,
            registry=write_registry(folder / "registry", now),
            data_dir=folder / "data",
            partitions=partitions,
        )
        self.topics = self.settings.topics
        self.registry = load_registry(self.settings.registry)
        self.events = Events(now)
        self.gate = FormerGate(bootstrap_servers, self.topics, self.registry)
        #: What the fault did: records that leaked, records that no decision explains any more, consent events without
        #: the copy in quarantine that they need, records that were released while an event was on its way home.
        self.leaked = self.unexplained = self.uncopied = self.late = 0

    def home(self, who: str) -> int:
        """The partition that Kafka's default partitioner gives a prospect."""
        return partition_of(who.encode(), self.partitions)

    def at_home_in(self, number: int, count: int) -> list[str]:
        """So many prospects of one partition."""
        return [who for who in map("p-{}".format, range(99)) if self.home(who) == number][:count]

    async def send(self, topic: str, who: str, value: bytes, partition: int | None = None) -> None:
        """Produce a record of a prospect, by default to its partition."""
        number = self.home(who) if partition is None else partition
        async with open_producer(self.settings.bootstrap_servers) as producer:
            await producer.send_and_wait(topic, value, who.encode(), partition=number)

    async def consent(self, who: str) -> None:
        """Let e-mail and SMS of a prospect go."""
        await self.send(self.topics.consents, who, self.events.consent(who, f"c-{who}"))

    async def oppose(self, who: str, partition: int | None = None) -> None:
        """Have a prospect object to everything."""
        await self.send(self.topics.consents, who, self.events.against("objection", who, f"o-{who}"), partition)

    async def ask(self, who: str) -> None:
        """Ask for the transfer of a prospect to one partner."""
        await self.send(self.topics.transfers, who, self.events.transfer(who, f"t-{who}"))

    async def grow(self, partitions: int) -> None:
        """Give every topic more partitions, as operators do."""
        async with admin_of(self.settings.bootstrap_servers) as admin:
            names = [name for name in await admin.list_topics() if name.startswith(self.topics.prefix)]
            await admin.create_partitions(
                {name: NewPartitions(partitions) for name in names if name != self.topics.audit}
            )
        self.partitions = partitions


async def all_topics_grown(site: Site) -> None:
    """Who objected under two partitions is released under four, once their consent is published again."""
    people = [f"p-{number}" for number in range(8)]
    for who in people:
        await site.consent(who)
        await site.oppose(who)
    await site.gate.work(2)
    before = {who: site.home(who) for who in people}
    await site.grow(4)
    for who in people:
        await site.consent(who)
        await site.ask(who)
    await site.gate.work(4)
    moved = sum(site.home(who) != before[who] for who in people)
    site.leaked, site.uncopied = moved, 2 * moved


async def consents_placed_by_crc32(site: Site) -> None:
    """Objections come from a client of librdkafka, whose default is another partitioner."""
    people = [f"p-{number}" for number in range(8)]
    away = [who for who in people if crc32(who.encode()) % site.partitions != site.home(who)]
    for who in people:
        await site.consent(who)
        await site.oppose(who, crc32(who.encode()) % site.partitions)
        await site.ask(who)
    await site.gate.work(site.partitions)
    site.leaked = site.uncopied = len(away)


async def consents_that_came_home_late(site: Site) -> None:
    """The same, but the events were found, and brought home behind the releases."""
    await consents_placed_by_crc32(site)
    site.late, site.leaked = site.leaked, 0
    behind = int((dt.datetime.now(dt.UTC) + dt.timedelta(seconds=30)).timestamp() * 1000)
    servers, topics = site.settings.bootstrap_servers, site.topics
    events = [record async for record in read_all(servers, [topics.consents], site.partitions)]
    async with open_producer(servers) as producer:
        for record in events:
            key = record.key or b""
            if partition_of(key, site.partitions) != record.partition:
                sent = stray_headers(record, 0)
                home = partition_of(key, site.partitions)
                await producer.send_and_wait(topics.strays, record.value, key, home, behind, sent)


async def transfers_made_anew(site: Site) -> None:
    """Records of the new topic get the ids of those that stood in their places before."""
    people = site.at_home_in(0, 4)
    for who in people:
        await site.consent(who)
    for who in people[:2]:
        await site.ask(who)
    await site.gate.work(site.partitions)
    await remake_topic(site.settings.bootstrap_servers, site.topics.transfers, site.partitions, {})
    site.gate.begin_anew(site.topics.transfers)
    for who in people[2:]:
        await site.ask(who)
    await site.gate.work(site.partitions)
    site.unexplained = 2


async def consents_made_anew(site: Site) -> None:
    """Objections stand below the offset up to which the former topic was folded; an unreadable event stands where one
    stood that was settled.
    """
    people = site.at_home_in(0, 5)
    consents, broken = site.topics.consents, people[0]
    objection = json.loads(site.events.against("objection", broken, "r-1"))
    settled = json.dumps({**objection, "type": "resolution", "resolves": [0]}).encode()
    await site.send(consents, broken, b"{")
    await site.send(consents, broken, settled)
    for who in people[:4]:
        await site.consent(who)
    await site.gate.work(site.partitions)
    await remake_topic(
        site.settings.bootstrap_servers, consents, site.partitions, {"message.timestamp.type": "LogAppendTime"}
    )
    await site.send(consents, broken, b"{ ")
    for who in people[1:4]:
        await site.oppose(who)
    for _ in range(4):
        await site.consent(people[4])
    for who in people[:4]:
        await site.ask(who)
    await site.gate.work(site.partitions)
    site.leaked, site.uncopied = 4, 1


FAULTS: Final = (
    all_topics_grown,
    consents_placed_by_crc32,
    consents_that_came_home_late,
    transfers_made_anew,
    consents_made_anew,
)
Fault = Callable[[Site], Awaitable[None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=FAULTS, ids=lambda fault: str(fault.__name__))
async def site(
    request: pytest.FixtureRequest, bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """Topics of two partitions with one fault, which both tools look at."""
    prepared = Site(bootstrap_servers, tmp_path_factory.mktemp("fault"), 2)
    await apply_topics(prepared.settings, prepared.registry)
    fault: Fault = request.param
    await fault(prepared)
    yield prepared


async def test_the_auditor_finds_every_release_that_a_fault_of_identity_let_slip(site: Site) -> None:
    auditor = Auditor(site.settings, [site.registry], margin=dt.timedelta(seconds=1), on_finding=lambda _: None)
    tally = await auditor.once()
    assert tally.outcomes["leak"] == site.leaked
    assert tally.outcomes["unexplained"] == site.unexplained
    assert tally.outcomes["stray"] == site.late
    assert site.leaked + site.unexplained + site.late > 0
    assert tally.holds is (site.late > 0)


async def test_verify_misses_what_a_fault_of_identity_left_without_its_outcome(site: Site) -> None:
    counts = (await verify(site.settings, site.registry)).counts
    assert not counts.holds
    if site.uncopied:
        assert counts.missing == site.uncopied
    else:  # ids of two people: neither's release is the one of the record that stands there
        assert counts.missing == site.unexplained * _CHANNELS
        assert counts.misrouted >= site.unexplained * _CHANNELS
