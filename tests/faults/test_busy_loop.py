"""A worker answers its probes whatever it decides, on a real worker whose event loop is kept busy."""

import asyncio
from pathlib import Path

from tests.support.stream_gate import open_launched_gate


async def test_a_worker_with_a_busy_loop_answers_probes(bootstrap_servers: str, tmp_path: Path) -> None:
    async with open_launched_gate(bootstrap_servers, tmp_path, "with_busy_loop", partitions=1) as gate:
        data = tmp_path / "data-0"
        await gate.consent("p-1")
        await gate.send(gate.topics.transfers, gate.events.transfer("p-1", "e-1"), b"p-1")
        await gate.worker.until((data / "busy").exists, "busy")
        # Nobody but this test ends the decision: whatever is answered now is answered while the loop does not turn.
        assert await asyncio.to_thread(gate.worker.answers, "/healthz") == "ok\n"
        assert await asyncio.to_thread(gate.worker.answers, "/readyz") == "ready\n"
        assert "transfer_gate_event_loop_lag_seconds" in await asyncio.to_thread(gate.worker.metrics_page)
        (data / "go-on").touch()
        outputs = await gate.outputs()
        assert [body["event_id"] for body in outputs.released_to("acme", "p-1")] == ["e-1"]
