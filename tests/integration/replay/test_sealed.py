"""Encrypted payloads: sent back as they are, opened only to decide; erased ones stay unreadable. And retention."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from tests.support.replay_operator import Operator, everything
from tests.support.stream_gate import open_gate
from transfer_gate.errors import NothingMatched
from transfer_gate.registry import load_registry
from transfer_gate.verify.account import verify

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def keeper(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Operator]:
    """An operator who has the key file of a gate that encrypts."""
    folder = tmp_path_factory.mktemp("sealed-gate")
    file = folder / "keys"
    file.write_text(base64.b64encode(os.urandom(32)).decode(), encoding="utf-8")
    async with open_gate(bootstrap_servers, folder, partitions=2, quarantine_key_file=file) as gate:
        yield Operator(gate, quarantine_key_file=file)


async def test_a_person_erased_between_plan_and_run_is_not_released(keeper: Operator) -> None:
    people = ["sealed-0", "sealed-1", "sealed-2", "sealed-3"]
    held = await keeper.held(people)
    await keeper.consent(people[:3])
    plan = await keeper.plan(held)
    assert plan.outcomes() == {"released": 3, "held": 1}
    without_key = await keeper.called("pascal", quarantine_key_file=None).plan(held)
    assert without_key.outcomes() == {"refused": 4}
    assert {move.outcome for move in without_key.moves} == {"not-openable"}

    gate = keeper.gate
    erasure = gate.events.against("erasure", people[0], "erasure-0")
    await gate.send(gate.topics.consents, erasure, people[0].encode(), partition=0)
    report = await keeper.run(plan)
    assert report.outcomes == {"erased": 1, "released": 2, "held": 1}
    assert [(one.forecast, one.outcome, one.ids) for one in report.differences] == [
        ("released (email, sms)", "erased", held[:1])
    ]
    assert sorted(await keeper.released(people)) == everything(people[1:3])

    await keeper.held(["sealed-late"])
    erasure = gate.events.against("erasure", "sealed-late", "erasure-1")
    await gate.send(gate.topics.consents, erasure, b"sealed-late", partition=0)
    late = await keeper.plan(prospect_id="sealed-late")
    assert late.outcomes() == {"erased": 1}

    registry = load_registry(keeper.settings.registry)
    account = await verify(keeper.settings, registry)
    assert account.counts.holds, account
    # Erased: one discarded by the replay, one open; both can be compared by their headers only.
    assert (account.held.open, account.held.replayed, account.held.discarded) == (4, 4, 2)
    assert account.unopened == 2
    blind = await verify(keeper.called("pascal", quarantine_key_file=None).settings, registry)
    assert blind.counts == account.counts
    assert blind.unopened == 6  # five first attempts, and a second one


async def test_records_that_retention_deleted_are_reported_and_the_rest_is_sent(keeper: Operator) -> None:
    crowd = [f"deleted-{n}" for n in range(40)]
    people = [who for home in (0, 1) for who in [each for each in crowd if keeper.gate.home(each) == home][:3]]
    held = await keeper.held(people)
    await keeper.consent(people)
    plan = await keeper.plan(held)
    last = max(item.offset for item in plan.items if item.partition == 0)
    cut = {TopicPartition(keeper.gate.topics.quarantine, 0): RecordsToDelete(before_offset=last)}
    admin = AIOKafkaAdminClient(bootstrap_servers=keeper.gate.place.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_records(cut)
    finally:
        await admin.close()
    report = await keeper.run(plan)
    assert (report.gone, report.sent, report.outcomes) == (2, 4, {"open": 2, "released": 4})
    assert (report.undecided, report.stopped) == (0, None)
    with pytest.raises(NothingMatched, match="2 records were deleted by retention"):
        await keeper.run(plan)
    status = await keeper.status(plan.plan_id)
    assert (status.state, status.gone) == ("finished", 2)
    done = await keeper.command("replay", "run", plan.plan_id)
    assert done.returncode == 3, done.stderr
    assert len(await keeper.released(people)) == 8
    await asyncio.to_thread(keeper.gate.place.verify)
