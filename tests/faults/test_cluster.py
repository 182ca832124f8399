"""On three brokers, the death of partition leaders lets no withdrawal slip and loses, doubles or misroutes nothing.

Withdrawals race against transfers while leaders of `consent-events` are killed and a crowd of other records flows.
"""

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.faults.conftest import Figures, NewInstallation
from tests.support.balance import balance
from tests.support.clients import open_producer
from tests.support.events import Events
from tests.support.leaders import LeaderKiller
from tests.support.load import Load
from tests.support.race_scenarios import racing
from tests.support.races import tally
from transfer_gate.local.cluster import LocalCluster

#: How long the gate may take for one race, and for what is left in the end, seconds.
PATIENCE: Final = 180.0
#: Between two groups of races, seconds: five Java machines and two workers share the processor.
PAUSE: Final = 0.2


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path_factory.mktemp("cluster"), 3) as started:
        yield started


@pytest.mark.long
@pytest.mark.parametrize(("kills", "transfers"), [(1, 2000), (25, 60_000)], ids=["one leader", "again and again"])
async def test_nothing_slips_and_nothing_is_lost_while_partition_leaders_are_killed(
    cluster: LocalCluster,
    new_installation: NewInstallation,
    events: Events,
    chance: random.Random,
    kills: int,
    transfers: int,
    figures: Figures,
) -> None:
    place = new_installation(cluster.bootstrap_servers, max_round_records=200)
    killer = LeaderKiller(cluster, place.topics.consents, chance)
    workers = [place.start_worker() for _ in range(2)]
    for worker in workers:
        await worker.until_ready()
    async with open_producer(cluster.bootstrap_servers) as producer, racing(place, events) as (racer, observer):
        load = Load(place, producer, events, chance, prospects=3000)
        began = time.monotonic()
        for _ in range(kills):
            feeding = asyncio.ensure_future(load.feed(transfers // kills))
            striking = asyncio.ensure_future(killer.strike())
            while not striking.done():
                await racer.run(await racer.prospects(50))
                await asyncio.wait({striking}, timeout=PAUSE)
            await asyncio.gather(striking, feeding)
        seconds = round(time.monotonic() - began)
        await observer.until_decided(racer.made, place, PATIENCE)
        result = tally(racer.made, observer)
    code, counts = await asyncio.to_thread(place.verify, PATIENCE)
    figures(leaders_killed=kills, seconds=seconds, races=result.races, leaks=len(result.leaks), **counts)
    place.assert_none_gave_up()
    assert not result.leaks, f"{len(result.leaks)} of {result.races} leaked, for instance {result.leaks[:3]}"
    assert not result.wrong, f"{len(result.wrong)} were not held for the one right reason: {result.wrong[:3]}"
    assert not result.withheld, f"{len(result.withheld)} were held though nothing forbade them: {result.withheld[:3]}"
    assert result.races > 0
    assert result.free > 0
    assert code == 0, counts
    assert counts == (await balance(place)).as_counts()
    assert counts["inputs"] == load.transfers + len(racer.made)
