"""A release and an opposition that race end in no release, or in a release and exactly one notice (promise 6).

A transfer and the event against it are sent at the same moment, in an order that nobody knows, while workers are
killed, frozen and replaced. The same races find lost notices as soon as they are sent outside the transaction.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import orjson
import pytest

from tests.conftest import FreshKafka
from tests.faults.conftest import Figures, NewInstallation
from tests.support.chaos import Chaos, Fault
from tests.support.clients import open_producer, read_all
from tests.support.events import Against, Events
from tests.support.stream_gate import StreamGate
from tests.support.workers import Installation

PARTIES: Final = ("acme", "helios")
#: Without the event that can't be read: it takes nothing away.
KINDS: Final[tuple[Against, ...]] = ("withdrawal", "objection", "erasure")
#: Prospects that race within SPREAD seconds, and by how much, seconds, one of both may be ahead.
TOGETHER: Final = 100
SPREAD: Final = 0.7
AHEAD: Final = (0.0, 0.02, 0.2, 0.5)
#: Small rounds, so that many transactions are in the middle of something.
ROUND: Final = 20
DRAIN: Final = 120


class Ended(NamedTuple):
    """How races ended, counted by prospect and party; `wrong` names some of those that broke the promise."""

    unreleased: int
    recalled: int
    wrong: list[str]


@pytest.mark.parametrize(
    ("races", "faults"),
    [(1000, ("kill", "zombie")), pytest.param(50_000, ("kill", "zombie", "join", "leave"), marks=pytest.mark.long)],
)
async def test_a_release_and_an_opposition_that_race_end_in_no_release_or_in_a_release_and_one_notice(
    fresh_kafka: FreshKafka,
    new_installation: NewInstallation,
    events: Events,
    chance: random.Random,
    races: int,
    faults: tuple[Fault, ...],
    figures: Figures,
) -> None:
    broker = fresh_kafka()
    place = new_installation(broker.bootstrap_servers, max_round_records=ROUND)
    chaos = Chaos(place, broker, chance)
    prospects = await race(place, chaos, events, chance, races, faults)
    ended = await judge(place, events, prospects)
    figures(
        races=len(prospects), unreleased=ended.unreleased, recalled=ended.recalled, wrong=len(ended.wrong),
        faults=sum(map(len, chaos.recoveries.values())),
    )  # fmt: skip
    place.assert_none_gave_up()
    assert not ended.wrong, ended.wrong[:3]
    assert ended.unreleased > len(prospects) // 20, "the opposition must have come first now and then"
    assert ended.recalled > len(prospects) // 20, "the release must have come first now and then"


async def test_notices_outside_the_transaction_are_found_to_be_lost(
    fresh_kafka: FreshKafka,
    new_installation: NewInstallation,
    events: Events,
    chance: random.Random,
    figures: Figures,
) -> None:
    broker = fresh_kafka()
    place = new_installation(broker.bootstrap_servers, max_round_records=ROUND)
    chaos = Chaos(place, broker, chance, "with_notices_apart")
    prospects = await race(place, chaos, events, chance, 5 * TOGETHER, ("kill", "kill"))
    ended = await judge(place, events, prospects)
    figures(races=len(prospects), wrong_found=len(ended.wrong))
    assert ended.wrong


async def race(
    place: Installation, chaos: Chaos, events: Events, chance: random.Random, races: int, faults: Sequence[Fault]
) -> dict[str, Against]:
    """Race while each of the faults strikes, once at least; returns prospect to what it opposed."""
    await chaos.begin()
    made: dict[str, Against] = {}
    async with open_producer(place.bootstrap_servers) as producer:
        numbers = itertools.count()

        async def send(topic: str, name: str, value: bytes) -> None:
            await (await producer.send(topic, key=name.encode(), value=value))

        async def one(name: str, kind: Against) -> None:
            await asyncio.sleep(chance.uniform(0, SPREAD))
            await send(place.topics.consents, name, events.consent(name, f"c-{name}"))
            both = [
                (place.topics.transfers, events.transfer(name, f"t-{name}", PARTIES)),
                (place.topics.consents, events.against(kind, name, f"x-{name}")),
            ]
            chance.shuffle(both)
            first = asyncio.ensure_future(send(both[0][0], name, both[0][1]))
            await asyncio.sleep(chance.choice(AHEAD))
            await asyncio.gather(first, send(both[1][0], name, both[1][1]))

        async def some() -> None:
            names = {f"race-{next(numbers)}": chance.choice(KINDS) for _ in range(TOGETHER)}
            made.update(names)
            await asyncio.gather(*itertools.starmap(one, names.items()))

        for struck, fault in enumerate(itertools.cycle(faults)):
            if struck >= len(faults) and len(made) >= races:
                break
            await some()  # while all partitions are decided
            undisturbed = asyncio.ensure_future(some())
            striking_now = asyncio.ensure_future(chaos.strike(fault))
            while not striking_now.done():
                await some()
            await asyncio.gather(undisturbed, striking_now)
    return made


async def judge(place: Installation, events: Events, prospects: dict[str, Against]) -> Ended:
    """What the outputs say of every prospect and party."""
    topics = place.topics
    async with open_producer(place.bootstrap_servers) as producer:
        await StreamGate(place, producer, events).settled(DRAIN)
    releases: Counter[tuple[str, str]] = Counter()
    notices: dict[tuple[str, str], list[dict[str, object]]] = {}
    wanted = {
        f"{topics.prefix}{kind}.{party}": (kind, party) for kind in ("partner", "suppressions") for party in PARTIES
    }
    async for record in read_all(place.bootstrap_servers, list(wanted), place.partitions):
        kind, party = wanted[record.topic]
        body = orjson.loads(record.value or b"{}")
        about = body["prospect_id"], party
        if kind == "partner":
            releases[about] += 1
        else:
            notices.setdefault(about, []).append(body)
    unreleased = recalled = 0
    wrong: list[str] = []
    for prospect, kind in prospects.items():
        for party in PARTIES:
            released, found = releases[prospect, party], notices.get((prospect, party), [])
            causes = [[part["cause"] for part in body["stopped"]] for body in found]  # type: ignore[attr-defined]
            if (released, causes) == (0, []):
                unreleased += 1
            elif (released, causes) == (1, [[kind]]):
                recalled += 1
            else:
                wrong.append(f"{prospect} to {party}: {released} releases, notices {causes}, {kind}")
    return Ended(unreleased, recalled, wrong)
