"""What is quarantined by reference is looked at and replayed by its original, as long as that stands in its topic."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete

from tests.support.raw_batches import batch, produce
from tests.support.replay_operator import Operator
from tests.support.replays import ledger_of, told
from tests.support.stream_gate import StreamGate, open_gate
from tests.support.topics import configure_topic
from transfer_gate.records import ids

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: Of the quarantine topic, bytes: an ordinary record fits, one with LARGE random bytes does not.
SMALL: Final = 6000
LARGE: Final = 20_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def operator_of_references(
    bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Operator]:
    """Who works with a quarantine topic that takes small records only."""
    async with open_gate(bootstrap_servers, tmp_path_factory.mktemp("by-reference"), partitions=1) as gate:
        limit = {"max.message.bytes": str(SMALL), "compression.type": "uncompressed"}
        await configure_topic(bootstrap_servers, gate.topics.quarantine, limit)
        code, _ = await gate.worker.terminate()
        assert code == 0
        await gate.place.start_worker().until_ready()  # limits are read at the start
        yield Operator(gate)


def transfer(gate: StreamGate, prospect: str, filler: str) -> bytes:
    body = orjson.loads(gate.events.transfer(prospect, f"t-{prospect}"))
    return orjson.dumps(body | {"attributes": {"city": filler}})


async def held_by_reference(gate: StreamGate, prospect: str) -> str:
    """Send a transfer that quarantine does not take verbatim; returns the quarantine id for its first partner."""
    sent = await gate.send(
        gate.topics.transfers, transfer(gate, prospect, os.urandom(LARGE // 2).hex()), prospect.encode()
    )
    (record,) = (await gate.outputs()).held(sent)
    assert record.value is None
    assert json.loads(told(record)["tg-reference"])["offset"] == sent.place[2]
    return told(record)["tg-quarantine-id"].decode()


async def too_large(gate: StreamGate, prospect: str) -> str:
    """Send a transfer that is larger than any that is decided."""
    data = batch([(prospect.encode(), transfer(gate, prospect, "x" * (3 << 20)), [])], "gzip")
    offset = await produce(gate.place.bootstrap_servers, gate.topics.transfers, 0, data)
    await gate.settled()
    return ids.quarantine_id(gate.topics.transfers, 0, offset)


async def asked(operator: Operator, *arguments: str) -> dict[str, Any]:
    """What a command prints as JSON."""
    done = await operator.command(*arguments, "--output", "json")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def test_the_original_is_decided_again_and_is_refused_by_name_where_it_is_gone(
    operator_of_references: Operator,
) -> None:
    operator = operator_of_references
    gate = operator.gate
    gone = await held_by_reference(gate, "ref-gone")
    healed, still = [await held_by_reference(gate, who) for who in ("ref-healed", "ref-still")]
    large = await too_large(gate, "ref-large")
    async with gate.admin() as admin:
        place = TopicPartition(gate.topics.transfers, 0)
        await admin.delete_records({place: RecordsToDelete(before_offset=1)})
    for who in ("ref-gone", "ref-healed", "ref-large"):
        await gate.consent(who)

    # Each command reads the original where it can, and reports why where it can't.
    shown = {who: (await asked(operator, "quarantine", "show", who))["payload"] for who in (healed, gone, large)}
    assert {who: payload["condition"] for who, payload in shown.items()} == dict.fromkeys(shown, "by-reference")
    assert shown[healed]["value"]["partner_ids"] == ["acme"]
    assert f"the original is gone: {gate.topics.transfers}/0, offset 0" in shown[gone]["why"]
    assert "SHA-256" in shown[large]["why"]
    explained = {who: await asked(operator, "quarantine", "explain", who) for who in (healed, gone, large)}
    assert [channel["reasons"] for channel in explained[healed]["now"]["partners"][0]["channels"]] == [[], []]
    assert "is gone" in explained[gone]["no_now"]
    assert explained[large]["now"]["quarantined"] == {"*": ["too-large"]}
    decision = explained[healed]["then"]["decision_id"]
    assert (await asked(operator, "policy", "explain", "--decision", decision))["explained_from"] == "topics"
    file = gate.place.folder / "held.jsonl"
    done = await operator.command("quarantine", "export", str(file), "--why", "test")
    assert done.returncode == 0, done.stderr
    assert len(file.read_text(encoding="utf-8").splitlines()) == 4

    plan = await operator.plan([gone, healed, still, large])
    assert plan.outcomes() == {"refused": 1, "released": 1, "held": 2}
    report = await operator.run(plan)
    assert report.outcomes == plan.outcomes()
    assert report.differences == []
    assert {who for who, _ in await operator.released(["ref-gone", "ref-healed", "ref-still"])} == {"ref-healed"}
    ledger = await ledger_of(gate)
    assert ledger[gone].why == (
        f"the original is gone: {gate.topics.transfers}/0, offset 0; have the source send it again"
    )
    attempts = await operator.quarantine([still, large])
    assert sorted(told(record)["tg-attempt"] for record in attempts) == [b"1", b"1", b"2", b"2"]
    assert {record.value for record in attempts} == {None}
    code, counts = await asyncio.to_thread(gate.place.verify)
    assert (code, counts["missing"], counts["duplicated"], counts["misrouted"]) == (0, 0, 0, 0)


async def test_what_quarantine_takes_by_now_is_kept_verbatim_again(operator_of_references: Operator) -> None:
    gate = operator_of_references.gate
    held = await held_by_reference(gate, "ref-later")
    await configure_topic(gate.place.bootstrap_servers, gate.topics.quarantine, {"max.message.bytes": "8388608"})
    await gate.worker.terminate()
    await gate.place.start_worker().until_ready()
    await operator_of_references.run(await operator_of_references.plan([held]))
    first, again = await operator_of_references.quarantine([held])
    assert first.value is None
    assert orjson.loads(again.value or b"")["event_id"] == "t-ref-later"
    assert "tg-reference" not in told(again)
