"""The auditor explains every record that the gate released, and finds what did not come from it or should not have.

Forgeries are written to real partner topics, and leaks are those of a gate whose read barrier is off.
"""

import asyncio
import random
import shutil
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from tests.faults.conftest import Figures, NewInstallation
from tests.support import race_scenarios
from tests.support.clients import open_producer, open_reader, places_of, read_all
from tests.support.events import Events
from tests.support.load import Load
from tests.support.race_scenarios import racing
from tests.support.races import tally
from tests.support.registry import PARTNERS
from tests.support.workers import PATIENCE, Installation
from transfer_gate.gate.inbox import Record

TRANSFERS: Final = 2000
RECORDS: Final = "transfer_gate_audit_records_total"
LEAKS: Final = "transfer_gate_leaks_total"


@pytest.fixture(scope="module")
def place(bootstrap_servers: str, new_installation: NewInstallation, events: Events) -> Installation:
    """A gate that has decided a crowd of transfers of every outcome; tests add to it."""
    installation = new_installation(bootstrap_servers)
    worker = installation.start_worker()

    async def feed() -> None:
        await worker.until_ready()
        async with open_producer(bootstrap_servers) as producer:
            await Load(installation, producer, events, random.Random(7), prospects=500).feed(TRANSFERS)

    asyncio.run(feed())
    code, _ = installation.verify()
    assert code == 0
    return installation


def partner_topic(place: Installation, number: int = 0) -> str:
    return f"{place.topics.prefix}partner.{PARTNERS[number]}"


async def released(place: Installation) -> list[Record]:
    topics = [partner_topic(place, number) for number in range(len(PARTNERS))]
    return [record async for record in read_all(place.bootstrap_servers, topics, place.partitions)]


async def write(place: Installation, record: Record, body: dict[str, Any] | None = None) -> None:
    """Put a record on its topic once more, maybe with another body, as somebody with the right to write could."""
    async with open_producer(place.bootstrap_servers) as producer:
        value = record.value if body is None else orjson.dumps(body)
        await producer.send_and_wait(
            record.topic, key=record.key, value=value, partition=record.partition, headers=list(record.headers)
        )


async def test_without_the_registry_that_decided_it_says_so_and_with_it_explains_all(
    place: Installation, registry: Path, tmp_path: Path
) -> None:
    newer = shutil.copytree(registry, tmp_path / "newer")
    policy = newer / "policy.yaml"
    policy.write_text(policy.read_text(encoding="utf-8") + "clock_skew_seconds: 299\n", encoding="utf-8")
    now = place.under(newer)
    code, counts, _ = await asyncio.to_thread(now.audit)
    assert code == 0
    assert counts["revision-unknown"] == counts["records"] > 0
    code, counts, _ = await asyncio.to_thread(now.audit, "--registry", str(registry))
    assert code == 0
    assert counts["ok"] == counts["records"] > 0


async def test_it_follows_a_gate_that_keeps_its_promise_and_ends_when_told(
    place: Installation, events: Events, figures: Figures
) -> None:
    auditor = place.start_auditor()
    await auditor.until_ready()
    assert auditor.metric(RECORDS) == len(await released(place))
    async with racing(place, events) as (racer, observer):
        await race_scenarios.behind_bursts(racer, 100)
        await observer.until_decided(racer.made, place, PATIENCE)
    expected = len(await released(place))
    waited = await auditor.until(lambda: auditor.metric(RECORDS) >= expected, "done with what was released")
    figures(records=expected, seconds_behind=round(waited, 1))
    assert auditor.metric_by_labels(RECORDS)[RECORDS + '{outcome="ok"}'] == expected
    assert auditor.metric(LEAKS) == 0
    assert auditor.metric("transfer_gate_audit_position") > 0
    code, _ = await auditor.terminate()
    assert code == 0, auditor.tail()


async def test_what_the_gate_released_is_explained_and_what_it_did_not_is_found(
    place: Installation, figures: Figures
) -> None:
    records = await released(place)
    code, before, errors = await asyncio.to_thread(place.audit)
    figures(**{name.replace("-", "_"): count for name, count in before.items()})
    assert (code, errors) == (0, "")
    assert before["records"] == before["ok"] == len(records) > TRANSFERS / 10

    victim, other = records[0], records[-1]
    body = orjson.loads(victim.value or b"")
    await write(place, victim, body | {"decision_id": "6ff5d9bd-4f52-5f0c-9a40-7e1a9f3d0c11"})
    await write(place, victim, body | {"note": "one field more"})
    await write(place, other)  # the partner gets it twice
    code, counts, errors = await asyncio.to_thread(place.audit)
    assert code == 1
    assert counts == before | {"records": len(records) + 3, "unexplained": 3}
    assert errors.count("no decision released it") == 2
    assert errors.count("not a released record") == 1
    assert body["prospect_id"] not in errors


async def test_a_record_that_was_altered_is_told_by_a_fresh_decision(place: Installation) -> None:
    """The partner's topic is emptied and filled again, with some records changed."""
    records = [record for record in await released(place) if record.topic == partner_topic(place)]
    await empty(place, partner_topic(place))
    altered = {
        "contact": {"email": {"value": "eve@example.org", "type": "personal"}},
        "attributes": {"first_name": "Eve"},
        "channels": ["postal"],
        "obligations": {"use_before": "2099-01-01T00:00:00Z"},
        "prospect_id": "somebody-else",
        "purpose": "social_matching",
    }
    for record, (name, value) in zip(records, altered.items(), strict=False):
        await write(place, record, orjson.loads(record.value or b"") | {name: value})
    for record in records[len(altered) : 20]:
        await write(place, record)
    code, counts, errors = await asyncio.to_thread(place.audit)
    assert code == 1
    assert counts["without-record"] > 0
    told = [line for line in errors.splitlines() if partner_topic(place) in line]
    assert len(told) == len(altered), told
    for name in altered:
        assert name in errors
    assert "eve@example.org" not in errors


async def test_it_finds_the_leaks_of_a_gate_without_read_barrier(
    bootstrap_servers: str, new_installation: NewInstallation, events: Events, figures: Figures
) -> None:
    place = new_installation(bootstrap_servers)
    place.start_worker("without_barrier")
    async with racing(place, events) as (racer, observer):
        await race_scenarios.behind_bursts(racer, 200)
        await observer.until_decided(racer.made, place, PATIENCE)
        result = tally(racer.made, observer)
    code, counts, errors = await asyncio.to_thread(place.audit, "--margin", "0.005")
    figures(races=result.races, leaks=len(result.leaks), found=counts["leak"])
    assert code == 1
    assert 0 < counts["leak"] <= len(result.leaks)
    assert counts["unexplained"] == 0
    assert "was acknowledged before it forbids it" in errors


async def empty(place: Installation, topic: str) -> None:
    """Delete every record of a topic, as retention does."""
    places = places_of([topic], place.partitions)
    async with open_reader(place.bootstrap_servers) as reader:
        ends = await reader.end_offsets(places)
    admin = AIOKafkaAdminClient(bootstrap_servers=place.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_records({place: RecordsToDelete(before_offset=end) for place, end in ends.items() if end})
    finally:
        await admin.close()
