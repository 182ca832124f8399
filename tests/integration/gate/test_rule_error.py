"""A rule that raises: a quarantine that names it, a metric, and a worker that goes on."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import open_producer
from tests.support.events import Events
from tests.support.registry import write_registry
from tests.support.stream_gate import StreamGate, json_of
from tests.support.workers import Installation


@asynccontextmanager
async def _gate(bootstrap_servers: str, folder: Path) -> AsyncIterator[StreamGate]:
    now = dt.datetime.now(dt.UTC)
    place = Installation(bootstrap_servers, write_registry(folder / "registry", now), folder, partitions=1)
    try:
        await asyncio.to_thread(place.apply_topics)
        worker = place.start_worker("with_a_rule_that_raises")
        async with open_producer(bootstrap_servers) as producer:
            await worker.until_ready()
            yield StreamGate(place, producer, Events(now))
    finally:
        place.close()


@pytest.mark.asyncio(loop_scope="session")
async def test_a_rule_that_raises_is_held_named_and_counted_and_the_worker_goes_on(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    async with _gate(bootstrap_servers, tmp_path) as gate:
        events, topics = gate.events, gate.topics
        await gate.consent("p-1")

        async def transfer(event_id: str, **members: Any) -> Any:
            value = json.loads(events.transfer("p-1", event_id)) | members
            return await gate.send(topics.transfers, json.dumps(value).encode(), b"p-1")

        broken = await transfer("raise-1", source_restricted=True)
        sound = await transfer("sound-1")
        outputs = await gate.outputs()

        (decision,) = outputs.decided(broken)
        reasons = ["source-visibility-respected", "rule-error"]
        assert decision["quarantined"] == {"email": reasons, "sms": reasons}
        assert decision["released"] == []
        assert decision["rule_errors"] == ["form-not-deceptive"]
        (held,) = outputs.held(broken)
        assert held.value == broken.value
        assert json.loads(dict(held.headers)["tg-reasons"] or b"") == {"email": reasons, "sms": reasons}

        (decision,) = outputs.decided(sound)
        assert (decision["released"], decision["rule_errors"]) == (["email", "sms"], [])
        assert [body["event_id"] for body in map(json_of, outputs.released["acme"])] == ["sound-1"]

        counted = gate.worker.metric_by_labels("transfer_gate_rule_errors_total")
        raised = {labels: times for labels, times in counted.items() if times}
        assert raised == {'transfer_gate_rule_errors_total{rule="form-not-deceptive"}': 1}
        assert gate.worker.running
        log = gate.worker.log.read_text(encoding="utf-8")
        assert "courriel.example" not in log
        assert "+336" not in log
