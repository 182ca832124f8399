"""Every (input record, partner, channel) comes out exactly once, whatever happens to workers and broker (promise 2).

Judged twice: by `transfer-gate verify`, and by a ledger of the tests that shares no code with it. Both find duplicates
as soon as the gate works without transactions.
"""

import asyncio
import itertools
import random
from typing import Final

import pytest

from tests.conftest import FreshKafka
from tests.faults.conftest import Figures, NewInstallation
from tests.support.balance import Balance, balance
from tests.support.chaos import FAULTS, Chaos, Fault
from tests.support.clients import open_producer
from tests.support.events import Events
from tests.support.load import Load
from tests.support.states import states_of_changelog, states_of_events
from tests.support.workers import Installation, Launcher
from transfer_gate.local.kafka import LocalKafka

#: Transfers that begin to flow just before a fault.
PER_FAULT: Final = 5000
#: Small rounds, so that faults strike in the middle of many transactions.
ROUND: Final = 100
#: How long the gate may take for what is left after the last fault, seconds.
DRAIN: Final = 120


@pytest.mark.parametrize("transfers", [30_000, pytest.param(500_000, marks=pytest.mark.long)])
async def test_crashes_zombies_rebalances_and_broker_crashes_neither_lose_nor_double_an_outcome(
    fresh_kafka: FreshKafka,
    new_installation: NewInstallation,
    events: Events,
    chance: random.Random,
    transfers: int,
    figures: Figures,
) -> None:
    broker = fresh_kafka()
    place = new_installation(broker.bootstrap_servers, max_round_records=ROUND)
    chaos = await under_fire(place, broker, events, chance, transfers)
    code, counts, own = await both_opinions(place)
    figures(**counts, faults=sum(map(len, chaos.recoveries.values())), seconds_to_recover=slowest(chaos))
    place.assert_none_gave_up()
    assert own.inputs == transfers
    assert (own.missing, own.duplicated, own.misrouted) == (0, 0, 0), own
    assert counts == own.as_counts()
    assert code == 0
    assert own.released > 0
    assert own.quarantined > 0
    assert set(chaos.recoveries) == set(FAULTS)
    assert await states_of_changelog(place) == await states_of_events(place)


async def test_without_transactions_the_same_faults_are_found_to_double_outcomes(
    fresh_kafka: FreshKafka,
    new_installation: NewInstallation,
    events: Events,
    chance: random.Random,
    figures: Figures,
) -> None:
    broker = fresh_kafka()
    place = new_installation(broker.bootstrap_servers, max_round_records=ROUND)
    await under_fire(place, broker, events, chance, 2 * PER_FAULT, ("kill", "kill"), "without_transactions")
    code, counts, own = await both_opinions(place)
    figures(duplicates_by_verify=counts["duplicated"], duplicates_by_the_ledger=own.duplicated)
    assert own.duplicated > 0
    assert counts == own.as_counts()
    assert code == 1


async def under_fire(
    place: Installation,
    broker: LocalKafka,
    events: Events,
    chance: random.Random,
    transfers: int,
    faults: tuple[Fault, ...] = FAULTS,
    launcher: Launcher | None = None,
) -> Chaos:
    """Write `transfers` while one fault after another strikes; every fault of `faults` in turn, in random order."""
    chaos = Chaos(place, broker, chance, launcher)
    await chaos.begin()
    order = itertools.chain.from_iterable(chance.sample(faults, len(faults)) for _ in itertools.count())
    async with open_producer(place.bootstrap_servers) as producer:
        load = Load(place, producer, events, chance, prospects=max(3000, transfers // 10))
        while load.transfers < transfers:
            feeding = asyncio.ensure_future(load.feed(min(PER_FAULT, transfers - load.transfers)))
            await chaos.strike(next(order))
            await feeding
    return chaos


def slowest(chaos: Chaos) -> dict[Fault, float]:
    return {fault: max(seconds) for fault, seconds in sorted(chaos.recoveries.items())}


async def both_opinions(place: Installation) -> tuple[int, dict[str, int], Balance]:
    """Wait until the gate has decided everything; what `verify` says and its exit code, and what the ledger says."""
    code, counts = await asyncio.to_thread(place.verify, DRAIN)
    return code, counts, await balance(place)
