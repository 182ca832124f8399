"""Records in another partition than their key's: what another partitioner writes (contract section 1)."""

import json
from pathlib import Path
from zlib import crc32

import pytest

from tests.support.faults_clients import read_all
from tests.support.stream_gate import StreamGate, open_gate
from tests.support.stream_replays import told

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
