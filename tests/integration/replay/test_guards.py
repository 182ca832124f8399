"""What holds a run back: a second person, a cancel, the breaker, a plan that was altered, nobody there to decide."""

import asyncio

import orjson
import pytest
from msgspec.structs import replace

from tests.support.replay_operator import Operator, Watching, everything
from transfer_gate.errors import CheckFailed, InvalidInput, RefusedByGuard
from transfer_gate.replay.plan import load_plan, plan_file, save_plan

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_many_records_need_a_second_operator_who_approved_exactly_this_plan(operator: Operator) -> None:
    people = [f"four-eyes-{n}" for n in range(4)]
    held = await operator.held(people)
    await operator.consent(people)
    careful = operator.called("odile", replay_approval_records=3)
    plan = await careful.plan(held)
    with pytest.raises(RefusedByGuard, match="approval: 4 records"):
        await careful.run(plan)
    own = await careful.command("replay", "approve", plan.plan_id)
    assert (own.returncode, "own approval" in own.stderr) == (5, True), own.stderr
    with pytest.raises(RefusedByGuard, match="approval"):
        await careful.run(plan)

    second = careful.called("pascal")
    assert (await second.command("replay", "approve", plan.plan_id, "--ticket", "T-9")).returncode == 0
    assert (await second.command("replay", "approve", plan.plan_id)).returncode == 3
    assert (await careful.status(plan.plan_id)).approvals == ["pascal"]
    assert await careful.released(people) == []
    assert (await careful.run(plan)).outcomes == {"released": 4}
    events = [(act.action, act.by, act.outcome) for act in (await careful.status(plan.plan_id)).acts]
    assert events[:5] == [
        ("replay plan", "odile", "planned"),
        ("replay run", "odile", "refused"),
        ("replay approve", "odile", "refused"),
        ("replay run", "odile", "refused"),
        ("replay approve", "pascal", "approved"),
    ]


async def test_a_plan_file_that_was_altered_is_refused(operator: Operator) -> None:
    """Whoever approved, approved what stands on the audit topic."""
    held = await operator.held([f"altered-{n}" for n in range(3)])
    plan = await operator.plan(held[:2])
    more = await operator.plan(held)
    file = plan_file(operator.settings.data_dir, plan.plan_id)
    stored = load_plan(file)
    assert stored == plan
    save_plan(file, replace(plan, items=more.items), "0")
    with pytest.raises(RefusedByGuard, match="digest"):
        await operator.run(plan)
    file.unlink()
    assert (await operator.run(plan)).outcomes == {"held": 2}


async def test_a_cancel_stops_a_run_and_every_later_one(operator: Operator) -> None:
    """What was sent is decided; the rest stays open."""
    people = [f"cancelled-{n}" for n in range(80)]
    held = await operator.held(people)
    await operator.consent(people)
    plan, watching = await operator.plan(held), Watching()
    running = asyncio.create_task(operator.run(plan, watching, rate=20.0))
    while watching.settled < 4:
        assert not running.done()
        await asyncio.sleep(0.02)
    await operator.called("pascal").cancel(plan.plan_id, "wrong ticket")
    report = await asyncio.wait_for(running, 10)
    assert report.stopped == "cancelled by pascal: wrong ticket"
    assert 4 <= report.sent == report.outcomes["released"] < 70
    assert len(await operator.released(people)) == 2 * report.sent
    with pytest.raises(RefusedByGuard, match="cancelled by pascal"):
        await operator.run(plan)
    assert (await operator.status(plan.plan_id)).state == "cancelled"


async def test_the_breaker_stops_a_run_whose_records_are_quarantined_again(operator: Operator) -> None:
    held = await operator.held([f"breaker-{n}" for n in range(400)])
    plan = await operator.plan(held)
    stopped = await operator.command("replay", "run", plan.plan_id, "--output", "json")
    assert (stopped.returncode, "stopped by breaker" in stopped.stderr) == (4, True), stopped.stderr
    report = orjson.loads(stopped.stdout)
    assert 100 <= report["sent"] < 400
    assert report["outcomes"] == {"open": 400 - report["sent"], "held": report["sent"]}
    assert (await operator.run(plan, breaker=1.0)).outcomes == {"held": 400}


async def test_without_a_gate_nothing_is_sent(operator: Operator) -> None:
    held = await operator.held(["no-gate"])
    plan = await operator.plan(held)
    with pytest.raises(CheckFailed, match="no gate is running"):
        await operator.called("odile", app_id="nobody-is-here").run(plan)
    assert (await operator.run(plan)).sent == 1


async def test_without_the_topics_every_command_names_the_command_to_run(operator: Operator) -> None:
    """A reader of a topic that does not exist would wait for it, or create it."""
    nowhere = operator.called("odile", topic_prefix="nowhere.")
    with pytest.raises(InvalidInput, match="missing topics"):
        await nowhere.plan()
    plan_id = "0f8b7f3e-5f7e-4a55-9b0e-3f1f7a1f2b11"
    for asked in (nowhere.status(plan_id), nowhere.cancel(plan_id, "no")):
        with pytest.raises(InvalidInput, match="topics apply"):
            await asked
    with pytest.raises(InvalidInput, match="no plan"):
        await operator.status(plan_id)


async def test_the_report_names_outcomes_other_than_the_forecast(operator: Operator) -> None:
    """The plan was made with another registry than the gate's: the gate decides by its own."""
    people = [f"revised-{n}" for n in range(3)]
    held = await operator.held(people)
    await operator.consent(people)
    folder = operator.settings.registry
    revised = operator.gate.place.folder / "revised"
    for file in folder.rglob("*.yaml"):
        target = revised / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text(encoding="utf-8")
        target.write_text(text.replace("status: active", "status: paused"), encoding="utf-8")
    plan = await operator.called("odile", registry=revised).plan(held)
    assert plan.outcomes() == {"held": 3}
    report = await operator.run(plan)
    (difference,) = report.differences
    found = (difference.forecast, difference.outcome, difference.records)
    assert found == ("held: partner-paused", "released (email, sms)", 3)
    assert sorted(difference.ids) == sorted(held)
    assert sorted(await operator.released(people)) == everything(people)
