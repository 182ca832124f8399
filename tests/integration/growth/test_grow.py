"""`topics grow`: an installation gets more partitions, and knows everything that it knew, killed or not."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions

from tests.support.clients import set_offsets
from tests.support.replay_operator import Operator
from tests.support.replays import told
from tests.support.stream_gate import StreamGate, open_gate
from tests.support.topics import admin_of
from transfer_gate.errors import NothingMatched, RefusedByGuard
from transfer_gate.growth import run as growth
from transfer_gate.growth.run import Grown
from transfer_gate.kafka.session import open_session
from transfer_gate.quarantine.master_keys import new_key
from transfer_gate.registry import load_registry
from transfer_gate.verify.account import Counts, verify

pytestmark = pytest.mark.asyncio(loop_scope="session")

KILLED = -9
LAUNCHER = Path(__file__).parents[2] / "broken_gates" / "grow_killed.py"


async def grow(operator: Operator, partitions: int) -> Grown:
    async with open_session(operator.settings) as session:
        return await growth.grow(session, load_registry(operator.settings.registry), partitions)


async def grow_killed(operator: Operator, partitions: int, transaction: int) -> int:
    """Killed in that transaction, the first being 1; returns the exit code."""
    command = [sys.executable, str(LAUNCHER), "topics", "grow", "--partitions", str(partitions)]
    environment = operator.environment | {"GROW_KILL_AT": str(transaction)}
    run = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, check=False)
    return run.returncode


async def transfers(gate: StreamGate, people: Iterable[str], name: str) -> None:
    for who in people:
        await gate.send(gate.topics.transfers, gate.events.transfer(who, f"{name}-{who}"), who.encode())


async def against(gate: StreamGate, kind: Any, people: Iterable[str]) -> list[Any]:
    return [
        await gate.send(gate.topics.consents, gate.events.against(kind, who, f"{kind}-{who}"), who.encode())
        for who in people
    ]


async def learn(gate: StreamGate, partitions: int) -> None:
    """Producers go by the new count."""
    gate.place.partitions = partitions
    await gate.producer.client.force_metadata_update()


async def accounted(operator: Operator) -> Counts:
    return (await verify(operator.settings, load_registry(operator.settings.registry))).counts


async def whole(operator: Operator) -> None:
    """Nothing is missing, doubled or misrouted, and nobody was released against what was known."""
    counts = await accounted(operator)
    assert (counts.missing, counts.duplicated, counts.misrouted) == (0, 0, 0), counts
    # With the longer margin, what lifted a block came too late to be sure that the gate knew it, but for its way home.
    for margin in ("1", "15"):
        code, output, errors = await asyncio.to_thread(operator.gate.place.run, "audit", "--json", "--margin", margin)
        audited = json.loads(output)
        assert (code, audited["leak"], audited["unexplained"]) == (0, 0, 0), (margin, audited, errors)


def released(outputs: Any, people: Iterable[str]) -> list[str]:
    return sorted(body["prospect_id"] for body in outputs.released_to("acme", *people))


async def test_an_installation_grows_and_knows_everything_that_it_knew_whenever_it_is_killed(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    """Withdrawals, blocks, attempts and discards hold in their new places; what is held, sealed, can be replayed."""
    count = 4
    keys = tmp_path / "keys"
    new_key(keys, "made by a test")
    settings: dict[str, Any] = {"partitions": 2, "session_timeout_seconds": 6, "quarantine_key_file": keys}
    async with open_gate(bootstrap_servers, tmp_path, **settings) as gate:
        operator = Operator(gate, quarantine_key_file=keys)
        people = [f"grow-{number}" for number in range(24)]
        free, withdrawn, blocked, late, given_up = people[:6], people[6:12], people[12:16], people[16:22], people[22:]
        for who in (*free, *withdrawn, *blocked):
            await gate.consent(who)
        await against(gate, "withdrawal", withdrawn)
        broken = await against(gate, "unreadable", blocked)
        held = await operator.held(late)
        gone = await operator.held(given_up)
        code, _, errors = await asyncio.to_thread(
            gate.place.run, "quarantine", "discard", *gone, "--why", "test", "--yes"
        )
        assert code == 0, errors
        again = await operator.plan(held[:3])
        assert (await operator.run(again)).outcomes == {"held": 3}  # attempt 2 is open now
        await gate.worker.terminate()

        for transaction in (1, 4):
            assert await grow_killed(operator, count, transaction) == KILLED
        refused = gate.place.start_worker()
        assert await refused.ended() == 1
        assert f"transfer-gate topics grow --partitions {count}" in refused.tail()
        assert (await grow(operator, count)).decided_under == 2
        with pytest.raises(NothingMatched):
            await grow(operator, count)

        await learn(gate, count)
        assert any(gate.home(who) != gate.home(who) % 2 for who in withdrawn)
        await gate.place.start_worker().until_ready()
        await transfers(gate, people, "after")
        outputs = await gate.outputs()
        assert released(outputs, people) == sorted(free)
        reasons = {
            (body["prospect_id"], *body["quarantined"]["email"])
            for record in (record for records in outputs.decisions.values() for record in records)
            if (body := json.loads(record.value or b""))["event_id"].startswith("after-") and body["quarantined"]
        }
        assert {who for who, *why in reasons if "not-withdrawn" in why} == set(withdrawn)
        assert {who for who, *why in reasons if "consent-unreadable" in why} == set(blocked)

        await operator.consent(late)
        await gate.settled()
        plan = await operator.plan(held)
        assert (await operator.run(plan)).outcomes == {"released": len(late)}
        with pytest.raises(Exception, match="settled"):
            await operator.run(plan)
        with pytest.raises(Exception, match="no open record"):
            await operator.plan(gone)
        first = broken[0]
        code, _, errors = await asyncio.to_thread(
            gate.place.run, "consent", "resolve", "--prospect", blocked[0], "--offset", str(first.place[2]),
            "--why", "test", "--yes",
        )  # fmt: skip
        assert code == 0, errors
        await transfers(gate, blocked[:2], "resolved")
        outputs = await gate.outputs()
        assert released(outputs, [*late, *blocked]) == sorted([*late, blocked[0]])
        await whole(operator)

        # The history is folded anew: what stands in its old place is applied by the command, not by a worker alone.
        await gate.worker.terminate()
        offsets = {TopicPartition(gate.topics.consents, number): 0 for number in range(count)}
        await set_offsets(bootstrap_servers, gate.place.app_id, offsets)
        refused = gate.place.start_worker()
        assert await refused.ended() == 1
        assert "before events of" in refused.tail()
        assert (await grow(operator, count)).events > 0
        await gate.place.start_worker().until_ready()
        await transfers(gate, [*withdrawn, *blocked], "anew")
        assert released(await gate.outputs(), [*withdrawn, *blocked]) == sorted([blocked[0]] * 2)
        counts = await accounted(operator)
        assert (counts.missing, counts.misrouted) == (0, 0)  # copies of unreadable events are written anew


async def test_topics_that_were_grown_by_hand_are_brought_home_with_what_was_produced_meanwhile(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    """Withdrawals in old and new places, applied by nobody yet; transfers in old places go to quarantine alone."""
    async with open_gate(bootstrap_servers, tmp_path, partitions=2, session_timeout_seconds=6) as gate:
        operator = Operator(gate)
        people = [f"hand-{number}" for number in range(16)]
        before, between, after, free = people[:4], people[4:8], people[8:12], people[12:]
        for who in people:
            await gate.consent(who)
        await against(gate, "withdrawal", before)
        await gate.settled()
        with pytest.raises(RefusedByGuard, match="members"):
            await grow(operator, 3)
        await gate.worker.terminate()
        await against(gate, "withdrawal", between)
        await transfers(gate, people, "old-place")
        with pytest.raises(RefusedByGuard, match="not taken in"):
            await grow(operator, 3)
        async with admin_of(bootstrap_servers) as admin:
            names = [name for name in await admin.list_topics() if name.startswith(gate.topics.prefix)]
            await admin.create_partitions(
                {name: NewPartitions(3) for name in names if not name.endswith("transfer-gate-audit")}
            )
        former = {who: gate.home(who) for who in people}
        await learn(gate, 3)
        await against(gate, "withdrawal", after)
        await transfers(gate, people, "new-place")
        moved = [who for who in people if gate.home(who) != former[who]]
        code, output, errors = await asyncio.to_thread(gate.place.run, "topics", "grow", "--partitions", "3")
        assert code == 0, errors
        assert output.startswith("3 partitions: ")
        assert "not decided" in errors
        await gate.place.start_worker().until_ready()
        outputs = await gate.outputs()
        stayed = [who for who in free if who not in moved]
        assert released(outputs, people) == sorted([*free, *stayed])
        misplaced = [
            record
            for records in outputs.quarantine.values()
            for record in records
            if told(record)["tg-reason"] == b"key-misplaced" and told(record)["tg-stage"] == b"schema"
        ]
        assert sorted(record.key or b"" for record in misplaced) == sorted(map(str.encode, moved))
        ids = [told(record)["tg-quarantine-id"].decode() for record in misplaced]
        plan = await operator.plan(ids)
        await operator.run(plan)
        assert released(await gate.outputs(), people) == sorted(free * 2)
        await whole(operator)
