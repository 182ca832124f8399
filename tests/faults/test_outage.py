"""A broker that is away for a while, and a restore that takes long: the worker waits and goes on, and skips nothing."""

import asyncio
import random
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import FreshKafka
from tests.faults.conftest import SESSION_SECONDS, Figures, NewInstallation
from tests.support.balance import balance
from tests.support.clients import open_producer
from tests.support.events import Events
from tests.support.feeds import ListFeed
from tests.support.load import Load
from tests.support.topics import make_topics
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.worker import Worker
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings

TRANSFERS: Final = 3000
DECIDED: Final = "transfer_gate_decisions_total"
#: Issue 3, point 3.
STOP_SECONDS: Final = 10


@pytest.mark.parametrize("away", [SESSION_SECONDS + 1, pytest.param(60, marks=pytest.mark.long)])
async def test_a_worker_outlives_a_broker_that_is_away_and_decides_everything_once(
    fresh_kafka: FreshKafka,
    new_installation: NewInstallation,
    events: Events,
    chance: random.Random,
    figures: Figures,
    away: float,
) -> None:
    """Longer than its session and than its transactions may last, and in the middle of its work."""
    broker = fresh_kafka()
    place = new_installation(broker.bootstrap_servers, max_round_records=100, transaction_timeout_seconds=2)
    worker = place.start_worker()
    async with open_producer(place.bootstrap_servers) as producer:
        load = Load(place, producer, events, chance, prospects=1000)
        feeding = asyncio.ensure_future(load.feed(TRANSFERS))
        await worker.until(lambda: worker.metric(DECIDED) > 500, "under load")
        await asyncio.to_thread(broker.stop)
        await asyncio.sleep(away)
        assert worker.running, worker.tail()
        await asyncio.to_thread(broker.start)
        recovered = await worker.until_ready()
        await feeding
    code, counts = await asyncio.to_thread(place.verify)
    figures(**counts, away=away, seconds_to_recover=round(recovered, 1))
    place.assert_none_gave_up()
    assert code == 0
    assert counts["inputs"] == TRANSFERS
    assert counts == (await balance(place)).as_counts()

    await asyncio.to_thread(broker.stop)
    code, seconds = await worker.terminate()
    assert code == 0, worker.tail()
    assert seconds < STOP_SECONDS, "it waited for a broker that is away"


@pytest.mark.long
async def test_partitions_that_could_not_be_taken_over_are_asked_for_again(
    fresh_kafka: FreshKafka, registry: Path, tmp_path: Path
) -> None:
    broker = fresh_kafka()
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        bootstrap_servers=broker.bootstrap_servers,
        app_id="gate",
        data_dir=tmp_path,
        transaction_timeout_seconds=1,
    )
    known = load_registry(registry)
    book = Rulebook.of(settings.topics, known)
    names = [book.transfers, book.consents, book.changelog, book.quarantine, book.decisions, book.replay, book.ledger]
    topics: dict[str, dict[str, str]] = {name: {} for name in (*names, *book.partner_topics.values())}
    await make_topics(broker.bootstrap_servers, topics, 2)
    feed = ListFeed()
    started = Worker(settings, known, 2, feed)
    gate = started.gate
    await started.start()
    try:
        assert await gate.open({0}) is True
        await asyncio.to_thread(broker.stop)
        assert await gate.open({0, 1}) is False  # the one that it owned, and one that it never knew
        assert (gate.partitions, gate.assigned, gate.ready) == ({}, False, False)
        await asyncio.to_thread(broker.start)
        assert await gate.open({0, 1}) is True
        assert set(gate.partitions) == {0, 1}
    finally:
        await started.close()
    assert feed.failure is None


async def test_a_restore_that_takes_longer_than_the_session_does_not_cost_the_partitions(
    bootstrap_servers: str, new_installation: NewInstallation
) -> None:
    place = new_installation(bootstrap_servers)
    worker = place.start_worker("with_slow_restore")
    waited = await worker.until_ready()
    assert waited > SESSION_SECONDS, "the restore was not slow"
    assert worker.metric("transfer_gate_rebalances_total") == 1, "the group gave its partitions away meanwhile"
