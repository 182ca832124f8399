"""Small inputs from the field that ended workers: each has an outcome, and everything around it goes on."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import pytest_asyncio

from tests.support.raw_batches import Raw, batch, produce, zeros
from tests.support.stream_gate import Outputs, StreamGate, json_of, open_gate
from transfer_gate.gate.inbox import Record

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB: Final = 1 << 20
#: What one worker of two partitions may hold while it reads all this, bytes: far less than the 700 MiB of one record.
MOST_MEMORY: Final = 320 * MIB
NAME: Final = b"source-d\xe9p"


@dataclass
class Run:
    """Offsets of the odd records by name and input topic, and what came out."""

    offsets: dict[tuple[str, str], int] = field(default_factory=dict)
    good: list[str] = field(default_factory=list)
    outputs: Outputs = field(default_factory=Outputs)
    memory: int = 0


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["plain", "sealed"])
async def run(
    request: pytest.FixtureRequest, bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Run, StreamGate]]:
    """Every odd record on both inputs, ordinary ones of other prospects around them."""
    folder: Path = tmp_path_factory.mktemp("field")
    more: dict[str, Any] = {}
    if request.param == "sealed":
        keys = folder / "keys"
        keys.write_text("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n", encoding="utf-8")
        more["quarantine_key_file"] = keys
    async with open_gate(bootstrap_servers, folder, partitions=1, **more) as gate:
        result = Run()
        await fill(gate, result, huge=request.param == "plain")
        result.outputs = await gate.outputs()
        result.memory = gate.worker.resident_bytes
        yield result, gate


async def fill(gate: StreamGate, result: Run, *, huge: bool) -> None:
    topics, events = gate.topics, gate.events
    await gate.consent("good")

    async def put(name: str, topic: str, record: Raw, codec: str = "gzip") -> None:
        data = batch([record], codec)
        result.offsets[name, topic] = await produce(gate.place.bootstrap_servers, topic, 0, data)
        event = f"good-{len(result.good)}"
        result.good.append(event)
        await gate.send(topics.transfers, events.transfer("good", event), b"good")

    for prospect in ("name", "blocked", "attribute", "long", "zeros-1", "zeros-2"):
        await gate.consent(prospect)
    large = orjson.dumps(
        orjson.loads(events.transfer("attribute", "attribute")) | {"attributes": {"city": "x" * 3 * MIB}}
    )
    long = orjson.loads(events.consent("long", "consent-long"))
    long["proof"] = long.get("proof", {}) | {"text_hash": "a" * 9 * MIB}
    await put("name", topics.transfers, (b"name", events.transfer("name", "name"), [(NAME, b"x")]), "none")
    await put("name", topics.consents, (b"blocked", b"{", [(NAME, b"x")]), "none")
    await put("zeros", topics.transfers, (b"zeros-1", bytes(12 * MIB), []))
    await put("zeros", topics.consents, (b"zeros-2", bytes(12 * MIB), []))
    await put("long", topics.consents, (b"long", orjson.dumps(long), []))
    await put("attribute", topics.transfers, (b"attribute", large, []))
    await put("key", topics.transfers, (b"k" * 1_048_400, b"{", []), "none")
    await put("key", topics.consents, (b"k" * 1_048_400, b"{", []), "none")
    if huge:
        data = zeros(b"huge", 700 * MIB)
        result.offsets["huge", topics.transfers] = await produce(
            gate.place.bootstrap_servers, topics.transfers, 0, data
        )
    for prospect in ("blocked", "zeros-2", "long"):
        await gate.send(topics.transfers, events.transfer(prospect, f"after-{prospect}"), prospect.encode())


def held(run: Run, name: str, topic: str) -> Record:
    (record,) = run.outputs.quarantine[topic, 0, run.offsets[name, topic]]
    return record


def sent(record: Record, name: str) -> str:
    return (dict(record.headers)[name] or b"").decode()


async def test_a_header_name_that_is_not_utf_8_goes_to_quarantine_as_it_is(run: tuple[Run, StreamGate]) -> None:
    result, gate = run
    record = held(result, "name", gate.topics.consents)
    assert record.headers[0] == (NAME.decode("utf-8", "surrogateescape"), b"x")
    assert sent(record, "tg-reason") == "consent-unreadable"
    released = [body["event_id"] for body in result.outputs.released_to("acme", "name", "blocked")]
    assert released == ["name"], "the transfer is decided by its value; the unreadable consent blocks its prospect"


async def test_what_is_too_large_is_quarantined_by_reference_alone(run: tuple[Run, StreamGate]) -> None:
    result, gate = run
    for name, size in (("zeros", 12 * MIB), ("attribute", None)):
        record = held(result, name, gate.topics.transfers)
        assert record.value is None
        assert (sent(record, "tg-stage"), sent(record, "tg-reasons")) == ("schema", '{"*":["too-large"]}')
        reference = orjson.loads(sent(record, "tg-reference"))
        offset = result.offsets[name, gate.topics.transfers]
        assert (reference["topic"], reference["partition"], reference["offset"]) == (gate.topics.transfers, 0, offset)
        if size is not None:
            assert (reference["size"], reference["sha256"]) == (size, sha256(bytes(size)).hexdigest())
        (decision,) = result.outputs.decisions[gate.topics.transfers, 0, offset]
        assert json_of(decision)["quarantined"] == {"*": ["too-large"]}
        assert json_of(decision)["input_sha256"] == reference["sha256"]
    assert result.outputs.released_to("acme", "attribute") == []


async def test_a_consent_event_that_is_too_large_blocks_its_prospect_and_nobody_else(
    run: tuple[Run, StreamGate],
) -> None:
    result, gate = run
    for name in ("zeros", "long"):
        record = held(result, name, gate.topics.consents)
        assert record.value is None
        assert (sent(record, "tg-stage"), sent(record, "tg-reason")) == ("consent", "too-large")
    assert result.outputs.released_to("acme", "zeros-2", "long") == []
    released = [body["event_id"] for body in result.outputs.released_to("acme", "good")]
    assert released == result.good


async def test_evidence_does_not_repeat_a_key_that_no_prospect_has(run: tuple[Run, StreamGate]) -> None:
    result, gate = run
    offset = result.offsets["key", gate.topics.transfers]
    for topic in (gate.topics.transfers, gate.topics.consents):
        assert held(result, "key", topic).key == b"k" * 1_048_400
    (decision,) = result.outputs.decisions[gate.topics.transfers, 0, offset]
    assert decision.key == b"sha256:" + sha256(b"k" * 1_048_400).hexdigest().encode()
    assert max(len(record.key or b"") for record in result.outputs.changelog) <= 512


async def test_the_worker_is_up_and_small(run: tuple[Run, StreamGate]) -> None:
    result, gate = run
    assert gate.worker.running
    assert len(gate.place.workers) == 1
    assert result.memory < MOST_MEMORY, f"{result.memory / MIB:.0f} MiB"
    assert "Traceback" not in gate.worker.log.read_text(encoding="utf-8")


async def test_the_commands_survive_the_same_records_and_verify_accounts_for_them(run: tuple[Run, StreamGate]) -> None:
    _, gate = run
    code, counts = await asyncio.to_thread(gate.place.verify)
    assert (code, counts["missing"], counts["duplicated"], counts["misrouted"]) == (0, 0, 0, 0)
    for command in (
        ("quarantine", "list", "--output", "json"),
        ("quarantine", "list"),
        ("quarantine", "export", str(gate.place.folder / "held.jsonl")),
        ("consent", "unreadable"),
        ("audit", "--json"),
    ):
        code, _, errors = await asyncio.to_thread(gate.place.run, *command)
        assert "Traceback" not in errors
        assert code == 0, f"{command}: {errors}"
