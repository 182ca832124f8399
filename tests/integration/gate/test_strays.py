"""Records in another partition than their key's: what another partitioner writes (contract section 1)."""

import asyncio
import json
from pathlib import Path
from zlib import crc32

import pytest

from tests.support.clients import read_all
from tests.support.replays import told
from tests.support.stream_gate import Sent, StreamGate, open_gate
from tests.support.topics import remake_topic

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_transfer_outside_the_partition_of_its_key_is_quarantined_alone(gate: StreamGate) -> None:
    """It was decided beside the wrong states: whoever withdrew in the key's partition was unknown there."""
    prospect = "strays-transfer"
    await gate.consent(prospect)
    home = gate.home(prospect)
    value = gate.events.transfer(prospect, "strays-event")
    sent = await gate.send(gate.topics.transfers, value, prospect.encode(), partition=1 - home, misplaced=True)
    outputs = await gate.outputs()
    (held,) = outputs.held(sent)
    headers = told(held)
    assert (held.key, held.value, held.partition) == (sent.key, sent.value, 1 - home)
    assert (headers["tg-stage"], headers["tg-reason"]) == (b"schema", b"key-misplaced")
    assert headers["tg-reasons"] == b'{"email":["key-misplaced"],"sms":["key-misplaced"]}'
    (decided,) = outputs.decided(sent)
    assert decided["quarantined"] == {"email": ["key-misplaced"], "sms": ["key-misplaced"]}
    assert outputs.released_to("acme", prospect) == []


async def test_objections_placed_by_crc32_come_home_and_nobody_is_released(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    """Every librdkafka client places so by default: 27 of 40 who objected were released, and nothing said so."""
    async with open_gate(bootstrap_servers, tmp_path, partitions=4) as gate:
        people = [f"stray-{number}" for number in range(40)]
        away = [who for who in people if crc32(who.encode()) % 4 != gate.home(who)]
        assert away
        for who in people:
            await gate.consent(who)
            value = gate.events.against("objection", who, f"o-{who}")
            await gate.send(
                gate.topics.consents, value, who.encode(), [("trace", b"1")], crc32(who.encode()) % 4, misplaced=True
            )
        broken = await gate.send(
            gate.topics.consents, b"{", b"stray-unreadable", partition=3 - gate.home("stray-unreadable"), misplaced=True
        )
        await gate.consent("stray-unreadable")
        await gate.settled()
        await gate.settled()  # what came home meanwhile
        for who in (*people, "stray-unreadable"):
            await gate.send(gate.topics.transfers, gate.events.transfer(who, f"t-{who}"), who.encode())
        outputs = await gate.outputs()
        assert outputs.released["acme"] == []
        (copy,) = outputs.held(broken)
        assert (told(copy)["tg-stage"], told(copy)["tg-reason"]) == (b"consent", b"key-misplaced")
        copies = [record for records in outputs.quarantine.values() for record in records]
        strays = [record for record in copies if told(record)["tg-reason"] == b"key-misplaced"]
        assert sorted(record.key or b"" for record in strays) == sorted(map(str.encode, [*away, "stray-unreadable"]))
        home = [record async for record in read_all(bootstrap_servers, [gate.topics.strays], 4)]
        assert sorted((record.key or b"", record.partition) for record in home) == sorted(
            (who.encode(), gate.home(who)) for who in [*away, "stray-unreadable"]
        )
        one = next(record for record in home if record.key == away[0].encode())
        assert json.loads(one.value or b"")["type"] == "objection"
        assert told(one)["trace"] == b"1"
        assert told(one)["tg-source-topic"] == gate.topics.consents.encode()
        assert gate.worker.metric("transfer_gate_stray_consents_total") == len(strays)
        reasons = {
            reason
            for records in outputs.decisions.values()
            for record in records
            for channel in json.loads(record.value or b"")["quarantined"].values()
            for reason in channel
        }
        assert reasons == {"not-objected", "consent-unreadable"}


async def audited(gate: StreamGate) -> dict[str, int]:
    """Counts of `audit --json`."""
    _, output, errors = await asyncio.to_thread(gate.place.run, "audit", "--json")
    assert output.startswith("{"), errors
    counts: dict[str, int] = json.loads(output)
    return counts


async def test_the_auditor_explains_releases_by_consents_that_came_home(bootstrap_servers: str, tmp_path: Path) -> None:
    async with open_gate(bootstrap_servers, tmp_path, partitions=2) as gate:
        people = [f"home-{number}" for number in range(8)]
        for who in people:
            value = gate.events.consent(who, f"consent-{who}")
            await gate.send(gate.topics.consents, value, who.encode(), partition=1 - gate.home(who), misplaced=True)
        await gate.settled()
        await gate.settled()
        for who in people:
            await gate.send(gate.topics.transfers, gate.events.transfer(who, f"t-{who}"), who.encode())
        outputs = await gate.outputs()
        assert len(outputs.released_to("acme", *people)) == len(people)
        counts = await audited(gate)
        assert (counts["ok"], counts["records"]) == (len(people), len(people))
        code, _ = await asyncio.to_thread(gate.place.verify)
        assert code == 0
        _, output, errors = await asyncio.to_thread(gate.place.run, "doctor", "--output", "json")
        assert output, errors
        (found,) = [line for line in json.loads(output)["findings"] if line["check"] == "strays"]
        assert (found["status"], "are home" in found["found"]) == ("warn", True)


async def resolved(gate: StreamGate, *arguments: str) -> None:
    """Settle an unreadable event from the command line."""
    command = ("consent", "resolve", *arguments, "--yes", "--why", "sent again")
    code, output, errors = await asyncio.to_thread(gate.place.run, *command)
    assert code == 0, errors
    assert "resolved 1 unreadable consent events" in output
    assert "still blocked" not in errors


async def test_an_unreadable_stray_is_resolved_alone_and_not_by_a_resolution_of_a_former_topic(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    async with open_gate(bootstrap_servers, tmp_path, partitions=2) as gate:
        who = "stray-resolved"
        key, away = who.encode(), 1 - gate.home(who)
        counts = iter((1, 3))  # each resolution stands beside its event, and so comes home, too

        async def break_and_ask(event_id: str) -> tuple[str, Sent]:
            """An event that can't be read, in the other partition, then a transfer, once it is home."""
            broken = await gate.send(gate.topics.consents, b"{", key, partition=away, misplaced=True)
            found = next(counts)
            name = "transfer_gate_stray_consents_total"
            await gate.worker.until(lambda: gate.worker.metric(name) == found, "found the stray")
            asked = await ask(event_id)
            copy = (await gate.outputs()).held(broken)[-1]
            return (told(copy)["tg-quarantine-id"] or b"").decode(), asked

        async def ask(event_id: str) -> Sent:
            return await gate.send(gate.topics.transfers, gate.events.transfer(who, event_id), key)

        async def reasons(sent: Sent) -> list[str]:
            (decision,) = (await gate.outputs()).decided(sent)
            return [reason for channel in decision["quarantined"].values() for reason in channel]

        await gate.consent(who)
        quarantine_id, asked = await break_and_ask("t-1")
        assert await reasons(asked) == ["consent-unreadable"] * 2
        await resolved(gate, "--quarantine-id", quarantine_id)
        assert await reasons(await ask("t-2")) == []
        await remake_topic(gate.place.bootstrap_servers, gate.topics.consents, 2, {})
        again, asked = await break_and_ask("t-3")
        assert again != quarantine_id
        assert await reasons(asked) == ["consent-unreadable"] * 2
        await resolved(gate, "--prospect", who, "--offset", "0")
        assert await reasons(await ask("t-4")) == []
        code, output, _ = await asyncio.to_thread(gate.place.run, "consent", "unreadable")
        assert (code, output) == (3, "")


async def test_where_producers_place_keys_by_crc32_these_are_at_home_and_those_placed_by_murmur2_are_not(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    async with open_gate(bootstrap_servers, tmp_path, partitions=4, partitioner="crc32") as gate:
        people = [f"crc-{number}" for number in range(12)]

        async def send(topic: str, value: bytes, who: str, number: int) -> Sent:
            return await gate.send(topic, value, who.encode(), partition=number, misplaced=True)

        def placed(who: str) -> int:
            return crc32(who.encode()) % 4

        for who in people:
            await send(gate.topics.consents, gate.events.consent(who, f"c-{who}"), who, placed(who))
            await send(gate.topics.transfers, gate.events.transfer(who, f"t-{who}"), who, placed(who))
        outputs = await gate.outputs()
        assert len(outputs.released_to("acme", *people)) == len(people)
        assert gate.worker.metric("transfer_gate_stray_consents_total") == 0
        moved = next(who for who in people if placed(who) != gate.home(who))
        held = await send(gate.topics.transfers, gate.events.transfer(moved, "t-held"), moved, gate.home(moved))
        objection = gate.events.against("objection", moved, "o-moved")
        await send(gate.topics.consents, objection, moved, gate.home(moved))
        await gate.settled()
        await gate.settled()  # what came home meanwhile
        asked = await send(gate.topics.transfers, gate.events.transfer(moved, "t-asked"), moved, placed(moved))
        outputs = await gate.outputs()
        (decision,) = outputs.decided(held)
        assert decision["quarantined"] == {"email": ["key-misplaced"], "sms": ["key-misplaced"]}
        (decision,) = outputs.decided(asked)
        assert decision["quarantined"] == {"email": ["not-objected"], "sms": ["not-objected"]}
