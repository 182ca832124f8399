"""On a broker that makes topics by itself (`auto.create.topics.enable`), a question about a topic makes none."""

import asyncio
import datetime as dt
from pathlib import Path
from typing import Final

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.metadata import MetadataRequest

from tests.conftest import FreshKafka
from tests.support.clients import open_producer
from tests.support.events import Events
from tests.support.registry import write_registry
from tests.support.stream_gate import StreamGate
from tests.support.topics import admin_of
from tests.support.workers import Installation
from transfer_gate.local import broker as local_broker

#: Whatever they answer: on an empty cluster most of them refuse.
COMMANDS: Final = (
    ("worker",),
    ("topics", "apply", "--dry-run"),
    ("doctor",),
    ("verify", "--wait", "0"),
    ("audit",),
    ("quarantine", "list"),
    ("quarantine", "show", "00000000-0000-5000-8000-000000000000"),
    ("quarantine", "list", "--reveal", "--why", "a test"),
    ("replay", "plan"),
    ("replay", "status", "00000000-0000-4000-8000-000000000000"),
    ("consent", "unreadable"),
    ("consent", "resolve", "--prospect", "p-1", "--offset", "0", "--yes", "--why", "a test"),
    ("policy", "explain", "--decision", "00000000-0000-5000-8000-000000000000"),
)


async def topics_of(bootstrap_servers: str) -> set[str]:
    """Every topic of the cluster but Kafka's own."""
    async with admin_of(bootstrap_servers) as admin:
        return {name for name in await admin.list_topics() if not name.startswith("__")}


async def ask_for(bootstrap_servers: str, topic: str) -> None:
    """Have a topic made by asking for it, as a client does that leaves that open. The broker makes it behind its
    answer.
    """
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers)
    await client.bootstrap()
    async with asyncio.timeout(30):
        while topic not in await topics_of(bootstrap_servers):
            await client.send(client.get_random_node(), MetadataRequest([topic], True))
            await asyncio.sleep(0.05)
    await client.close()


async def test_no_command_and_no_worker_makes_a_topic_by_asking_for_it(
    fresh_kafka: FreshKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(local_broker._BROKER, "auto.create.topics.enable", "true")
    broker = await asyncio.to_thread(fresh_kafka)
    servers = broker.bootstrap_servers
    await ask_for(servers, "asked-for")  # this broker does make topics
    now = dt.datetime.now(dt.UTC)
    place = Installation(servers, write_registry(tmp_path / "registry", now), tmp_path, partitions=1)
    for command in COMMANDS:
        _, out, errors = await asyncio.to_thread(place.run, *command)
        assert "Traceback" not in errors, errors
        if command[0] != "topics":
            assert "run: transfer-gate topics apply" in out + errors, f"{command}: {out}{errors}"
        assert await topics_of(servers) == {"asked-for"}, command
    await asyncio.to_thread(place.apply_topics)
    made = await topics_of(servers)
    worker = place.start_worker()
    try:
        await worker.until_ready()
        async with open_producer(servers) as producer:
            gate = StreamGate(place, producer, Events(now))
            await gate.consent("p-1")
            await gate.send(place.topics.transfers, gate.events.transfer("p-1", "t-1"), b"p-1")
            assert len((await gate.outputs()).released["acme"]) == 1
        assert await topics_of(servers) == made
    finally:
        place.close()
