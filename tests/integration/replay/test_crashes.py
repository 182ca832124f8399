"""Whatever is killed, each record is released once, and a run goes on where the last one stood."""

import asyncio

import pytest

from tests.support.replay_operator import Operator, everything

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_kill_9_of_the_replayer_and_of_the_worker_midway(operator: Operator) -> None:
    """A killed run leaves records in flight; a run without a worker reports it; the next ones finish."""
    people = [f"killed-{n}" for n in range(90)]
    held = await operator.held(people)
    await operator.consent(people)
    plan, place = await operator.plan(held), operator.gate.place

    replayer = operator.start("replay", "run", plan.plan_id, "--rate", "10/s")
    try:
        while (await operator.status(plan.plan_id)).settled < 5:
            assert replayer.poll() is None
    finally:
        replayer.kill()
        await asyncio.to_thread(replayer.wait)
    assert (await operator.status(plan.plan_id)).state == "started"

    going = asyncio.create_task(operator.run(plan, rate=10.0, away_seconds=1.0))
    settled = (await operator.status(plan.plan_id)).settled
    while (await operator.status(plan.plan_id)).settled < settled + 5:
        assert not going.done()
    operator.gate.worker.kill()
    report = await asyncio.wait_for(going, 60)
    assert (report.stopped or "").startswith("no gate is running")
    assert 0 < report.undecided < 90

    await place.start_worker().until_ready()
    assert (await operator.run(plan)).outcomes == {"released": 90}
    assert sorted(await operator.released(people)) == everything(people)
    code, counts = await asyncio.to_thread(place.verify)
    assert code == 0, counts
