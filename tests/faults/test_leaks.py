"""No transfer is released behind a withdrawal that the broker had acknowledged, whatever goes on around it (promise 1).

Every race forbids the transfers of one prospect, waits for the acknowledgement and then asks for a transfer. The same
races find leaks as soon as the read barrier is off, or stands at the last stable offset.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from tests.faults.conftest import Figures, NewInstallation
from tests.support import race_scenarios
from tests.support.events import Events
from tests.support.race_scenarios import Racer, racing
from tests.support.races import Observer, Race, Tally, tally
from tests.support.workers import PATIENCE, Installation, Worker

WAITING: Final = "transfer_gate_barrier_waiting_records"
ASSIGNED: Final = "transfer_gate_assigned_partitions"
#: Prospects in the changelog of the worker that restores while it is raced.
RESTORED: Final = 20_000
#: Between races while workers come and go, seconds: the workers need the processor too.
PAUSE: Final = 0.05


def races(short: int, long: int) -> pytest.MarkDecorator:
    """How many races a test makes at least, in `make test` and in `make test-long`."""
    return pytest.mark.parametrize("count", [short, pytest.param(long, marks=pytest.mark.long)])


@pytest.fixture(scope="module")
def place(bootstrap_servers: str, new_installation: NewInstallation) -> Installation:
    """A gate with one worker, shared by the tests that leave it alone."""
    installation = new_installation(bootstrap_servers)
    installation.start_worker()
    return installation


async def outcome(racer: Racer, observer: Observer) -> Tally:
    await observer.until_decided(racer.made, racer.place, PATIENCE)
    return tally(racer.made, observer)


def hold(result: Tally, at_least: int, figures: Figures) -> None:
    figures(races=result.races, leaks=len(result.leaks), free_to_go=result.free)
    assert result.races >= at_least
    assert not result.leaks, f"{len(result.leaks)} of {result.races} leaked, for instance {result.leaks[:3]}"
    assert not result.wrong, f"{len(result.wrong)} were not held for the one right reason: {result.wrong[:3]}"
    assert not result.withheld, f"{len(result.withheld)} were held though nothing forbade them: {result.withheld[:3]}"
    assert result.free > 0, "a gate that releases nothing can't leak: without releases the test shows nothing"


@races(800, 50_000)
async def test_a_transfer_right_behind_an_acknowledged_withdrawal_is_held(
    place: Installation, events: Events, count: int, figures: Figures
) -> None:
    async with racing(place, events) as (racer, observer):
        await race_scenarios.plain(racer, count)
        hold(await outcome(racer, observer), count, figures)


@races(400, 10_000)
async def test_a_crowd_of_consents_ahead_of_the_withdrawal_lets_nothing_slip(
    place: Installation, events: Events, count: int, figures: Figures
) -> None:
    async with racing(place, events) as (racer, observer):
        await race_scenarios.behind_bursts(racer, count)
        hold(await outcome(racer, observer), count, figures)


@races(400, 10_000)
async def test_a_withdrawal_in_a_committed_transaction_counts(
    place: Installation, events: Events, count: int, figures: Figures
) -> None:
    async with racing(place, events) as (racer, observer):
        await race_scenarios.after_commits(racer, count)
        hold(await outcome(racer, observer), count, figures)


@races(300, 5_000)
async def test_a_withdrawal_in_an_aborted_transaction_never_counts_and_one_beside_it_does(
    place: Installation, events: Events, count: int, figures: Figures
) -> None:
    async with racing(place, events) as (racer, observer):
        await race_scenarios.beside_aborts(racer, count)
        hold(await outcome(racer, observer), count, figures)


@races(300, 5_000)
async def test_behind_an_open_transaction_a_decision_waits_for_its_end_and_says_so(
    place: Installation, events: Events, count: int, figures: Figures
) -> None:
    (worker,) = place.workers
    async with racing(place, events) as (racer, observer):

        async def seen_waiting(inside: list[Race], behind: list[Race]) -> None:
            await worker.until(lambda: waits_everywhere(worker, place), "seen waiting in every partition")
            made = [*inside, *behind]
            assert observer.undecided(made) == made, "decided though a transaction in front of it was open"

        await race_scenarios.behind_open_transactions(racer, count, seen_waiting)
        result = await outcome(racer, observer)
    await worker.until(lambda: worker.metric(WAITING) == 0, "seen waiting no more")
    hold(result, count, figures)


def waits_everywhere(worker: Worker, place: Installation) -> bool:
    waiting = worker.metric_by_labels(WAITING).values()
    return sum(1 for records in waiting if records > 0) == place.partitions


@races(400, 20_000)
async def test_nothing_slips_while_workers_join_leave_and_crash(
    bootstrap_servers: str, new_installation: NewInstallation, events: Events, count: int, figures: Figures
) -> None:
    place = new_installation(bootstrap_servers)
    place.start_worker()

    async def come_and_go() -> None:
        guest = await until_given_partitions(place.start_worker())
        code, _ = await guest.terminate()
        assert code == 0, guest.tail()
        guest = await until_given_partitions(place.start_worker())
        guest.kill()

    async with racing(place, events) as (racer, observer):
        await race_during(racer, come_and_go, count)
        result = await outcome(racer, observer)
    hold(result, count, figures)


@races(400, 20_000)
async def test_nothing_slips_while_the_table_is_restored(
    bootstrap_servers: str, new_installation: NewInstallation, events: Events, count: int, figures: Figures
) -> None:
    place = new_installation(bootstrap_servers)
    async with racing(place, events) as (racer, observer):
        worker = place.start_worker()
        await racer.prospects(RESTORED)
        await worker.until(lambda: worker.metric("transfer_gate_prospects") >= RESTORED, "done with the consents")

        async def start_anew() -> None:
            for crash in (False, True):
                (before,) = place.running
                await (asyncio.to_thread(before.kill) if crash else before.terminate())
                await until_given_partitions(place.start_worker(), RESTORED)

        await race_during(racer, start_anew, count)
        result = await outcome(racer, observer)
    hold(result, count, figures)


async def until_given_partitions(worker: Worker, restored: int = 0) -> Worker:
    """Wait until it decides some partitions, and has read at least `restored` records of the changelog for them."""
    await worker.until(lambda: worker.metric(ASSIGNED) > 0, "given partitions")
    assert worker.metric("transfer_gate_restored_records_total") >= restored
    return worker


async def race_during(racer: Racer, disturbance: Callable[[], Awaitable[None]], count: int) -> None:
    """Race while something goes on, again and again until there were enough races."""
    while racer.count < count:
        going_on = asyncio.ensure_future(disturbance())
        while not going_on.done():
            await racer.run(await racer.prospects(50))
            await asyncio.wait({going_on}, timeout=PAUSE)
        await going_on


async def test_with_the_barrier_off_the_same_races_find_leaks(
    bootstrap_servers: str, new_installation: NewInstallation, events: Events, figures: Figures
) -> None:
    place = new_installation(bootstrap_servers)
    place.start_worker("without_barrier")
    async with racing(place, events) as (racer, observer):
        await race_scenarios.behind_bursts(racer, 400)
        result = await outcome(racer, observer)
    figures(races=result.races, leaks_found=len(result.leaks))
    assert result.leaks


async def test_with_the_barrier_at_the_last_stable_offset_open_transactions_are_found_to_leak(
    bootstrap_servers: str, new_installation: NewInstallation, events: Events, figures: Figures
) -> None:
    place = new_installation(bootstrap_servers)
    worker = place.start_worker("with_stable_offset_barrier")
    async with racing(place, events) as (racer, observer):

        async def not_waiting(_inside: list[Race], behind: list[Race]) -> None:
            # The transaction is still open, and yet they are decided.
            await observer.until_decided(behind, place, PATIENCE)

        await worker.until_ready()
        await race_scenarios.behind_open_transactions(racer, 200, not_waiting)
        result = await outcome(racer, observer)
    figures(races=result.races, leaks_found=len(result.leaks))
    assert result.leaks
