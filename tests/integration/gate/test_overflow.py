"""One person with more history than is kept stops nobody else (contract section 3, "Bounds")."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.stream_gate import StreamGate, open_gate

pytestmark = pytest.mark.asyncio(loop_scope="session")

CONSENTS = 17_000


async def test_17_000_consents_of_one_id_hold_back_its_transfers_and_nobody_elses(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    """The changelog refused its state: the worker ended at every start, silent for 78 s on the way."""
    async with open_gate(bootstrap_servers, tmp_path, partitions=1) as gate:
        await gate.consent("calm")
        await _send_many(gate, "hot")
        held = await _asked(gate, "hot", "t-1")
        assert held["quarantined"]["email"][0] == "history-overflow"
        assert held["released"] == []
        assert (await _asked(gate, "calm", "t-2"))["released"] == ["email", "sms"]
        assert gate.worker.metric("transfer_gate_history_overflows_total") == 1
        gate.worker.kill()
        await gate.place.start_worker().until_ready()
        assert (await _asked(gate, "hot", "t-3"))["quarantined"]["email"][0] == "history-overflow"
        largest = max(len(record.value or b"") for record in (await gate.outputs()).changelog)
        assert largest <= 512 << 10
        counts = json.loads(await _run(gate, "audit", "--json"))
        assert counts["leak"] == counts["unexplained"] == 0
        told = await _run(gate, "consent", "resolve", "--history", "--prospect", "hot", "--yes", "--why", "looked at")
        assert "resolved the history" in told
        await gate.consent("hot")
        assert (await _asked(gate, "hot", "t-4"))["released"] == ["email", "sms"]
        code, _ = await asyncio.to_thread(gate.place.verify)
        assert code == 0


async def _send_many(gate: StreamGate, prospect: str) -> None:
    body = json.loads(gate.events.consent(prospect, "c"))
    for first in range(0, CONSENTS, 1000):
        batch = gate.producer.create_batch()
        for number in range(first, first + 1000):
            value = json.dumps(body | {"event_id": f"c-{number}", "record_id": f"r-{number}"}).encode()
            if batch.append(key=prospect.encode(), value=value, timestamp=None) is None:
                await (await gate.producer.send_batch(batch, gate.topics.consents, partition=0))
                batch = gate.producer.create_batch()
                assert batch.append(key=prospect.encode(), value=value, timestamp=None) is not None
        await (await gate.producer.send_batch(batch, gate.topics.consents, partition=0))


async def _asked(gate: StreamGate, prospect: str, event_id: str) -> dict[str, Any]:
    sent = await gate.send(gate.topics.transfers, gate.events.transfer(prospect, event_id), prospect.encode())
    decided = (await gate.outputs()).decided(sent)
    return next(decision for decision in decided if decision["partner_id"] == "acme")


async def _run(gate: StreamGate, *command: str) -> str:
    code, output, errors = await asyncio.to_thread(gate.place.run, *command)
    assert code == 0, errors
    return output
