"""100,000 quarantined records of as many people: planned and replayed at more than 2,000 a second, under 300 MB."""

import asyncio
import os
import time
from pathlib import Path
from typing import Final

import orjson
import pytest

from tests.conftest import FreshKafka
from tests.faults.conftest import Figures, NewInstallation
from tests.support.clients import open_producer
from tests.support.events import Events
from tests.support.replay_operator import Operator
from tests.support.stream_gate import StreamGate
from tests.support.workers import Installation

RECORDS: Final = 100_000
_WINDOW: Final = 5000
_MB: Final = 1 << 20


@pytest.mark.long
async def test_a_hundred_thousand_records_are_replayed_quickly_and_in_little_memory(
    fresh_kafka: FreshKafka, new_installation: NewInstallation, registry: Path, events: Events, figures: Figures
) -> None:
    broker = fresh_kafka()
    place = new_installation(broker.bootstrap_servers)
    await place.start_worker().until_ready()
    async with open_producer(place.bootstrap_servers) as producer:
        operator = Operator(StreamGate(place, producer, events), registry=registry, replay_approval_records=RECORDS)
        await _feed(place, operator.gate, of="transfers")
        await operator.gate.settled()
        await _feed(place, operator.gate, of="consents")
        await operator.gate.settled()

    planned, plan_seconds, plan_bytes = await _measured(operator, "replay", "plan", "--output", "json")
    plan = orjson.loads(planned)
    assert (plan["records"], plan["forecast"]) == (RECORDS, {"released": RECORDS})
    ran, _, run_bytes = await _measured(operator, "replay", "run", plan["plan_id"], "--output", "json")
    report = orjson.loads(ran)
    rate = RECORDS / report["seconds"]
    figures(
        records_a_second=round(rate),
        plan_seconds=round(plan_seconds, 1),
        plan_mb=plan_bytes // _MB,
        run_mb=run_bytes // _MB,
    )
    assert report["outcomes"] == {"released": RECORDS}
    code, counts = await asyncio.to_thread(place.verify)
    assert (code, counts["quarantined"]) == (0, 2 * RECORDS)
    assert rate >= 2000
    assert max(plan_bytes, run_bytes) < 300 * _MB


async def _feed(place: Installation, gate: StreamGate, of: str) -> None:
    waiting = []
    for number in range(RECORDS):
        who, key = f"p-{number}", b"p-%d" % number
        if of == "transfers":
            topic, value = gate.topics.transfers, gate.events.transfer(who, f"t-{number}")
        else:
            topic, value = gate.topics.consents, gate.events.consent(who, f"c-{number}")
        waiting.append(await gate.producer.send(topic, key=key, value=value))
        if len(waiting) >= _WINDOW:
            await asyncio.gather(*waiting)
            waiting.clear()
    await asyncio.gather(*waiting)


async def _measured(operator: Operator, *arguments: str) -> tuple[bytes, float, int]:
    """Output, seconds and largest resident memory in bytes of a command that must succeed."""

    def run() -> tuple[bytes, float, int]:
        began = time.monotonic()
        process = operator.start(*arguments, output=True)
        assert process.stdout is not None
        output = process.stdout.read()
        process.stdout.close()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, output
        return output, time.monotonic() - began, used.ru_maxrss * 1024

    return await asyncio.to_thread(run)
