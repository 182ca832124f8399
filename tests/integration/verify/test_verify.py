"""`verify` on a real broker: only what is committed counts, and it waits for what is about to be."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from transfer_gate.errors import InvalidInput
from transfer_gate.kafka.topics import apply_topics
from transfer_gate.model.registry import Registry
from transfer_gate.records import headers, ids
from transfer_gate.settings import Settings
from transfer_gate.verify.account import Counts, verify

NOW = "2026-11-24T10:00:00Z"
PARTNER = "acme-assurances"


def transfer(number: int) -> bytes:
    """A transfer to one partner by e-mail and SMS."""
    return msgspec.json.encode(
        {
            "event_id": f"e{number}",
            "requested_at": NOW,
            "prospect_id": f"p{number}",
            "partner_ids": [PARTNER],
            "channels": ["email", "sms"],
            "purpose": "direct_marketing",
        }
    )


@asynccontextmanager
async def producer(settings: Settings, transaction: str | None = None) -> AsyncIterator[AIOKafkaProducer]:
    """A producer, transactional when a transactional id is given."""
    open_producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, transactional_id=transaction)
    await open_producer.start()
    try:
        yield open_producer
    finally:
        await open_producer.stop()


async def ask(settings: Settings, sender: AIOKafkaProducer, number: int) -> int:
    """Produce transfer `number` on partition 0; returns its offset."""
    topic = settings.topics.transfers
    sent = await sender.send_and_wait(topic, transfer(number), f"p{number}".encode(), partition=0)
    return int(sent.offset)


async def hold(settings: Settings, sender: AIOKafkaProducer, number: int, offset: int) -> None:
    """Produce the quarantine record of transfer `number`, which stands at `offset` of partition 0."""
    topics = settings.topics
    ours = headers.of_quarantine(
        (),
        quarantine_id=ids.quarantine_id(topics.transfers, 0, offset, PARTNER),
        stage="policy",
        partner_id=PARTNER,
        reasons={"email": ["electronic-optin"], "sms": ["electronic-optin"]},
        source=(topics.transfers, 0, offset, 0),
        decision_id=ids.decision_id(topics.transfers, 0, offset, PARTNER),
        revision="r",
        consent_offset=0,
        quarantined_at=NOW,
    )
    key = f"p{number}".encode()
    await sender.send_and_wait(topics.quarantine, transfer(number), key, partition=0, headers=ours)


async def release(settings: Settings, sender: AIOKafkaProducer, number: int, offset: int, *channels: str) -> None:
    """Produce the decision and the partner's record of transfer `number`."""
    topics = settings.topics
    decision = {
        "decision_id": ids.decision_id(topics.transfers, 0, offset, PARTNER),
        "source": {"topic": topics.transfers, "partition": 0, "offset": offset},
        "released": channels,
        "attempt": 1,
    }
    record = {
        "decision_id": decision["decision_id"],
        "event_id": f"e{number}",
        "partner_id": PARTNER,
        "prospect_id": f"p{number}",
        "channels": channels,
        "contact": {},
    }
    key, topic = f"p{number}".encode(), f"{topics.prefix}partner.{PARTNER}"
    await sender.send_and_wait(topics.decisions, msgspec.json.encode(decision), key, partition=0)
    await sender.send_and_wait(topic, msgspec.json.encode(record), key, partition=0)


async def counts(settings: Settings, registry: Registry, **options: Any) -> Counts:
    """What `verify` counts."""
    return (await verify(settings, registry, **options)).counts


def expecting(**given: int) -> Counts:
    """Counts that are 0 where nothing is said."""
    return Counts(**{name: given.get(name, 0) for name in Counts.__struct_fields__})


async def test_released_and_quarantined_records_add_up(settings: Settings, registry: Registry) -> None:
    """Two transfers, one released, one held: nothing is missing; without topics it says what to run."""
    with pytest.raises(InvalidInput, match="missing topics"):
        await verify(settings, registry)
    await apply_topics(settings, registry)
    assert await counts(settings, registry) == expecting()
    async with producer(settings) as sender:
        await release(settings, sender, 1, await ask(settings, sender, 1), "email", "sms")
        offset = await ask(settings, sender, 2)
        assert await counts(settings, registry) == expecting(inputs=2, expected=4, released=2, missing=2)
        await hold(settings, sender, 2, offset)
        assert await counts(settings, registry) == expecting(inputs=2, expected=4, released=2, quarantined=2)
        await hold(settings, sender, 2, offset)
    seen = await counts(settings, registry)
    assert seen == expecting(inputs=2, expected=4, released=2, quarantined=4, duplicated=2)
    assert not seen.holds


async def test_aborted_outcomes_are_none(settings: Settings, registry: Registry) -> None:
    """A round that was aborted leaves records that no partner sees; the next round writes them again."""
    await apply_topics(settings, registry)
    async with producer(settings) as sender:
        offset = await ask(settings, sender, 1)
    async with producer(settings, f"{settings.app_id}-0") as gate:
        await gate.begin_transaction()
        await release(settings, gate, 1, offset, "email", "sms")
        await gate.abort_transaction()
        assert await counts(settings, registry) == expecting(inputs=1, expected=2, missing=2)
        async with gate.transaction():
            await release(settings, gate, 1, offset, "email")
            await hold(settings, gate, 1, offset)
    assert await counts(settings, registry) == expecting(inputs=1, expected=2, released=1, quarantined=2, duplicated=1)


async def test_inputs_behind_an_open_transaction_are_not_asked_for_yet(settings: Settings, registry: Registry) -> None:
    """An upstream producer that has not committed may still abort."""
    await apply_topics(settings, registry)
    async with producer(settings, f"{settings.app_id}-upstream") as upstream:
        await upstream.begin_transaction()
        await ask(settings, upstream, 1)
        assert await counts(settings, registry) == expecting()
        await upstream.commit_transaction()
        assert await counts(settings, registry) == expecting(inputs=1, expected=2, missing=2)


async def test_it_waits_for_a_round_whose_transaction_is_open(settings: Settings, registry: Registry) -> None:
    """What stands in the output topics when it looks is read to the end, whenever the round commits."""
    await apply_topics(settings, registry)
    async with producer(settings) as sender, producer(settings, f"{settings.app_id}-0") as gate:
        offset = await ask(settings, sender, 1)
        await gate.begin_transaction()
        await hold(settings, gate, 1, offset)
        reading = asyncio.create_task(counts(settings, registry))
        done, _ = await asyncio.wait({reading}, timeout=3)
        assert not done
        await gate.commit_transaction()
        assert await reading == expecting(inputs=1, expected=2, quarantined=2)


async def test_a_running_gate_is_given_time(settings: Settings, registry: Registry) -> None:
    """While the group has a member, its committed offsets are waited for; an idle group is not."""
    await apply_topics(settings, registry)
    place = TopicPartition(settings.topics.transfers, 0)
    member = AIOKafkaConsumer(
        settings.topics.transfers,
        bootstrap_servers=settings.bootstrap_servers,
        group_id=settings.app_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    async with producer(settings) as sender:
        offset = await ask(settings, sender, 1)
        await member.start()
        try:
            reading = asyncio.create_task(counts(settings, registry, wait_seconds=60))
            done, _ = await asyncio.wait({reading}, timeout=3)
            assert not done
            await hold(settings, sender, 1, offset)
            await member.commit({place: offset + 1})
            assert await reading == expecting(inputs=1, expected=2, quarantined=2)
        finally:
            await member.stop()
        await ask(settings, sender, 2)
        quick = counts(settings, registry, wait_seconds=60)
        seen = await asyncio.wait_for(quick, 30)
        assert seen == expecting(inputs=2, expected=4, quarantined=2, missing=2)
        assert await counts(settings, registry, decided_only=True) == expecting(inputs=1, expected=2, quarantined=2)


async def test_unreadable_consent_events_need_their_copy(settings: Settings, registry: Registry) -> None:
    """They are in no total, but one without a copy is missing."""
    await apply_topics(settings, registry)
    async with producer(settings) as sender:
        await sender.send_and_wait(settings.topics.consents, b"not JSON", b"p1", partition=1)
    assert await counts(settings, registry) == expecting(missing=1)


async def test_the_command_prints_exactly_the_contracts_object(
    settings: Settings, registry: Registry, command: list[str], environment: dict[str, str]
) -> None:
    """Exit 0 when it holds, 1 when it does not; stdout is the object and nothing else."""
    await apply_topics(settings, registry)

    async def run(*options: str) -> subprocess.CompletedProcess[str]:
        given = {**os.environ, **environment}
        verify_command = [*command, "verify", *options]
        return await asyncio.to_thread(
            subprocess.run, verify_command, env=given, capture_output=True, text=True, check=False
        )

    async with producer(settings) as sender:
        offset = await ask(settings, sender, 1)
        lacking = await run("--json", "--wait", "0")
        await hold(settings, sender, 1, offset)
    whole = await run("--json")
    assert (lacking.returncode, whole.returncode) == (1, 0), lacking.stderr + whole.stderr
    names = ["inputs", "expected", "released", "quarantined", "missing", "duplicated", "misrouted"]
    assert list(json.loads(lacking.stdout).items()) == list(zip(names, (1, 2, 0, 0, 2, 0, 0), strict=True))
    assert list(json.loads(whole.stdout).items()) == list(zip(names, (1, 2, 0, 2, 0, 0, 0), strict=True))
    assert "missing" in (await run()).stdout
