"""What a plan forecasts happens, once: the gate itself releases or quarantines again, however often it is sent."""

import asyncio

import orjson
import pytest

from tests.support.replay_operator import Operator, Watching, everything
from transfer_gate.errors import NothingMatched
from transfer_gate.kafka.session import open_session
from transfer_gate.quarantine.search import Filter
from transfer_gate.registry import load_registry
from transfer_gate.replay import planning

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_what_consent_allows_is_released_once_and_the_rest_is_quarantined_again_as_it_was(
    operator: Operator,
) -> None:
    """Half of the people consented meanwhile: plan and run show it, and running it again does nothing."""
    willing, others = [f"half-a-{n}" for n in range(20)], [f"half-b-{n}" for n in range(20)]
    held = await operator.held([*willing, *others])
    await operator.consent([*willing])
    before = {dict(record.headers)["tg-quarantine-id"]: record for record in await operator.quarantine(held)}

    plan = await operator.plan(held)
    assert plan.outcomes() == {"released": 20, "held": 20}
    assert {(move.reason, move.outcome): move.channels for move in plan.moves} == {
        ("electronic-optin", "released"): 40,
        ("electronic-optin", "electronic-optin"): 40,
    }
    assert await operator.released(willing) == []

    report = await operator.run(plan)
    assert (report.outcomes, report.sent, report.stopped) == ({"released": 20, "held": 20}, 40, None)
    assert report.differences == []
    assert sorted(await operator.released([*willing, *others])) == everything(willing)
    again = [record for record in await operator.quarantine(held) if dict(record.headers)["tg-attempt"] == b"2"]
    assert len(again) == 20
    for record in again:
        now, first = dict(record.headers), before[dict(record.headers)["tg-quarantine-id"]]
        then = dict(first.headers)
        assert (record.key, record.value, record.partition) == (first.key, first.value, first.partition)
        assert now["tg-first-quarantined-at"] == then["tg-quarantined-at"]
        assert (now["tg-quarantined-at"] or b"") > (then["tg-quarantined-at"] or b"")
        assert now["tg-replay-run"] == plan.plan_id.encode()

    with pytest.raises(NothingMatched, match="settled"):
        await operator.run(plan)
    status = await operator.status(plan.plan_id)
    assert (status.state, status.outcomes) == ("finished", {"released": 20, "held": 20})
    code, counts = await asyncio.to_thread(operator.gate.place.verify)
    assert code == 0, counts

    await operator.consent(["nobody", *others][1:])
    third = await operator.plan(held)
    assert third.outcomes() == {"released": 20}
    assert {item.attempt for item in third.items} == {2}
    assert (await operator.run(third)).outcomes == {"released": 20}
    assert sorted(await operator.released([*willing, *others])) == everything([*willing, *others])


async def test_two_runs_of_one_plan_and_of_overlapping_plans_release_each_record_once(operator: Operator) -> None:
    people = [f"twice-{n}" for n in range(60)]
    held = await operator.held(people)
    await operator.consent(people)
    plan, overlapping = await operator.plan(held), await operator.called("pascal").plan(held[20:])
    reports = await asyncio.gather(
        operator.run(plan), operator.called("quentin").run(plan), operator.called("pascal").run(overlapping)
    )
    assert all(report.undecided == 0 and report.stopped is None for report in reports)
    assert sorted(await operator.released(people)) == everything(people)
    statuses = [(await operator.status(each.plan_id)).outcomes for each in (plan, overlapping)]
    assert sum(outcomes.get("released", 0) for outcomes in statuses) == 60


async def test_a_plan_runs_by_its_id_on_another_machine(operator: Operator) -> None:
    """The audit topic has all of it; the commands report what they did as JSON, and by their exit codes."""
    held = await operator.held(["elsewhere-1", "elsewhere-2"])
    await operator.consent(["elsewhere-1", "elsewhere-2"])
    chosen = [option for one in held for option in ("--id", one)]
    planned = await operator.command("replay", "plan", "--output", "json", "--ticket", "T-7", *chosen)
    assert planned.returncode == 0, planned.stderr
    plan = orjson.loads(planned.stdout)
    assert (plan["records"], plan["forecast"], plan["by"]) == (2, {"released": 2}, "odile")

    other = operator.called("renaud")
    ran = await other.command("replay", "run", plan["plan_id"], "--output", "json")
    assert ran.returncode == 0, ran.stderr
    assert orjson.loads(ran.stdout)["outcomes"] == {"released": 2}
    again = await other.command("replay", "run", plan["plan_id"])
    assert again.returncode == 3, again.stderr
    status = await operator.command("replay", "status", plan["plan_id"], "--output", "json")
    seen = orjson.loads(status.stdout)
    assert [(act["action"], act["by"], act["outcome"]) for act in seen["acts"]] == [
        ("replay plan", "odile", "planned"),
        ("replay run", "renaud", "started"),
        ("replay run", "renaud", "done"),
    ]
    assert (await operator.command("replay", "plan", *chosen)).returncode == 3
    assert (await operator.command("replay", "status", "../../etc")).returncode == 2


async def test_a_replay_leaves_unreadable_consent_events_out(operator: Operator) -> None:
    """They stand in quarantine, too, but only a resolution settles them."""
    gate = operator.gate
    unreadable = gate.events.against("unreadable", "unreadable", "c-1")
    await gate.send(gate.topics.consents, unreadable, b"unreadable", partition=0)
    await gate.settled()
    with pytest.raises(NothingMatched, match="1 unreadable consent events do") as refused:
        await operator.plan(prospect_id="unreadable")
    assert "consent resolve" in refused.value.do
    await operator.held(["unreadable"])
    plan = await operator.plan(prospect_id="unreadable")
    assert (plan.outcomes(), plan.not_replayable) == ({"held": 1}, 1)
    assert plan.filter == {"prospect_id": "one"}


async def test_limit_and_canary_send_so_many_and_a_later_run_goes_on(operator: Operator) -> None:
    people = [f"canary-{n}" for n in range(30)]
    held = await operator.held(people)
    await operator.consent(people)
    plan = await operator.plan(held)
    stopped = await operator.run(plan, watching := Watching(answer=False), canary=4)
    assert [report.sent for report in watching.canaries] == [4]
    assert (stopped.outcomes, stopped.undecided) == ({"open": 26, "released": 4}, 26)
    assert (stopped.stopped or "").startswith("canary")
    limited = await operator.run(plan, limit=10, rate=100.0)
    assert (limited.sent, limited.undecided, limited.stopped) == (10, 16, "limit: 10 records")
    rest = await operator.command("replay", "run", plan.plan_id, "--canary", "6", "--yes")
    assert rest.returncode == 0, rest.stderr
    assert "canary: 6 sent" in rest.stderr
    assert sorted(await operator.released(people)) == everything(people)


async def test_a_partition_of_more_prospects_than_are_kept_at_a_time_is_forecast_in_parts(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [f"parts-{number}" for number in range(9)]
    held = await operator.held(people)
    await operator.consent(people[:4])
    monkeypatch.setattr(planning, "_STATES", 2)
    monkeypatch.setattr(planning, "_LINE_OFFSETS", 1)
    lines: list[str] = []
    registry = load_registry(operator.settings.registry)
    async with open_session(operator.settings) as session:
        plan = await planning.make_plan(session, registry, Filter(ids=frozenset(held)), on_progress=lines.append)
    assert plan.outcomes() == {"released": 4, "held": 5}
    assert sorted(item.quarantine_id for item in plan.items) == sorted(held)
    assert lines[0].startswith("reading quarantine: ")
    assert lines[1].endswith("open records match")
    assert sum(line.startswith("decided ") for line in lines) >= 4
    assert lines[-1] == "decided 9 of 9"
