"""Consent events go home exactly once, whatever happens to the worker that brings them (contract section 3, Strays)."""

import asyncio
from collections import Counter
from typing import Final

from aiokafka import AIOKafkaProducer

from tests.faults.conftest import NewInstallation
from tests.support.clients import open_producer, partition_of, read_all
from tests.support.events import Events
from tests.support.stream_gate import StreamGate, json_of
from tests.support.workers import Installation

PARTITIONS: Final = 4
PEOPLE: Final = 50
OBJECTIONS: Final = 40
#: Small rounds, so that a kill strikes in the middle of many transactions.
ROUND: Final = 20


async def send_astray(place: Installation, producer: AIOKafkaProducer, events: Events) -> None:
    """A consent of everybody where it belongs, and objections of everybody next door."""
    sent = []
    for number in range(PEOPLE):
        who = f"crash-{number}"
        home = partition_of(who.encode(), PARTITIONS)
        value = events.consent(who, f"c-{who}")
        sent.append(await producer.send(place.topics.consents, value, who.encode(), partition=home))
        for again in range(OBJECTIONS):
            value = events.against("objection", who, f"o-{who}-{again}")
            beside = (home + 1) % PARTITIONS
            sent.append(await producer.send(place.topics.consents, value, who.encode(), partition=beside))
    await asyncio.gather(*sent)


async def brought_home(place: Installation) -> list[tuple[bytes, ...]]:
    """Where each record of the strays says that it stood at first, and whose it is."""
    found: list[tuple[bytes, ...]] = []
    async for record in read_all(place.bootstrap_servers, [place.topics.strays], PARTITIONS):
        sent = dict(record.headers)
        where = (sent["tg-source-partition"] or b"", sent["tg-source-offset"] or b"")
        found.append((record.key or b"", *where, b"%d" % record.partition))
    return found


async def test_strays_go_home_exactly_once_through_kills_of_the_worker(
    bootstrap_servers: str, new_installation: NewInstallation, events: Events
) -> None:
    place = new_installation(bootstrap_servers, partitions=PARTITIONS, max_round_records=ROUND)
    total = PEOPLE * OBJECTIONS
    async with open_producer(bootstrap_servers) as producer:
        await send_astray(place, producer, events)
        struck = []
        for least in (1, total // 4):
            worker = place.start_worker()
            # Not by what it says of itself: a kill has to come while it writes.
            while len(await brought_home(place)) < least:
                assert worker.running, worker.tail()
            worker.kill()
            struck.append(len(await brought_home(place)))
        assert struck[0] < total  # it was killed on its way
        gate = StreamGate(place, producer, events)
        place.start_worker()
        await gate.settled()
        await gate.settled()  # what came home meanwhile
        for number in range(PEOPLE):
            who = f"crash-{number}"
            await gate.send(place.topics.transfers, events.transfer(who, f"t-{who}"), who.encode())
        outputs = await gate.outputs()
    home = await brought_home(place)
    assert len(home) == len(set(home)) == total
    assert all(int(row[3]) == partition_of(row[0], PARTITIONS) for row in home)
    copies = Counter(where for where, records in outputs.quarantine.items() for _ in records)
    assert sorted(where for where in copies if where[0] == place.topics.consents) == sorted(
        (place.topics.consents, int(row[1]), int(row[2])) for row in home
    )
    assert set(copies.values()) == {1}
    assert outputs.released["acme"] == []
    reasons = {
        reason
        for records in outputs.decisions.values()
        for record in records
        for given in json_of(record)["quarantined"].values()
        for reason in given
    }
    assert reasons == {"not-objected"}
