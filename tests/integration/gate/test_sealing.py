"""With a key file, payloads in quarantine are readable for as long as their prospect was not erased."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.support.registry import PARTNERS
from tests.support.replays import entry_about, held_for, held_transfer, ledger_of, send_back, told
from tests.support.stream_gate import StreamGate, open_gate
from transfer_gate.gate.inbox import Record
from transfer_gate.records.sealing import KEY_BYTES

FIRST: Final = PARTNERS[0]

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sealed(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StreamGate]:
    """A gate of one partition with a master key."""
    folder = tmp_path_factory.mktemp("sealed")
    keys = folder / "keys"
    keys.write_text(key_line(b"1"), encoding="ascii")
    async with open_gate(bootstrap_servers, folder, partitions=1, quarantine_key_file=keys) as gate:
        yield gate


async def test_a_payload_is_sealed_and_replayed(sealed: StreamGate) -> None:
    sent, record = await held_transfer(sealed, "sealed-healed")
    assert record.key == sent.key
    assert sent.value is not None
    assert record.value is not None
    for word in (b"claire", b"sealed-healed", b"Lyon", b"+336"):
        assert word in sent.value
        assert word not in record.value
    await sealed.consent("sealed-healed")
    await send_back(sealed, record)
    outputs = await sealed.outputs()
    assert len(outputs.released_to(FIRST, "sealed-healed")) == 1
    first, again = outputs.decided(sent)
    assert first["input_sha256"] == again["input_sha256"]


async def test_sealed_again_it_can_be_opened_again(sealed: StreamGate) -> None:
    sent, record = await held_transfer(sealed, "sealed-twice")
    await send_back(sealed, record)
    _, second = await held_for(sealed, sent)
    await sealed.consent("sealed-twice")
    await send_back(sealed, second)
    assert len((await sealed.outputs()).released_to(FIRST, "sealed-twice")) == 1


async def test_after_an_erasure_nothing_opens_it_any_more(sealed: StreamGate) -> None:
    sent, record = await held_transfer(sealed, "sealed-erased")
    other = await sealed.send(sealed.topics.transfers, b"unreadable", b"sealed-erased")
    (broken,) = (await sealed.outputs()).held(other)
    await erase(sealed, "sealed-erased")
    for each in (record, broken):
        await send_back(sealed, each)
    outputs = await sealed.outputs()
    assert [len(outputs.held(one)) for one in (sent, other)] == [1, 1]
    for each in (record, broken):
        entry = entry_about(await ledger_of(sealed), each)
        assert entry is not None
        assert (entry.state, entry.why) == ("discarded", "erased")
    first, *_, last = await states(sealed, b"sealed-erased")
    assert "sealing_key" in first
    assert "sealing_key" not in last


async def test_what_comes_after_an_erasure_is_sealed_under_another_key(sealed: StreamGate) -> None:
    _, before = await held_transfer(sealed, "sealed-again")
    await erase(sealed, "sealed-again")
    value = sealed.events.transfer("sealed-again", "t-later")
    later = await sealed.send(sealed.topics.transfers, value, b"sealed-again")
    (after,) = (await sealed.outputs()).held(later)
    assert key_of(before) != key_of(after)
    await send_back(sealed, after)
    assert len((await sealed.outputs()).held(later)) == 2


@pytest.mark.parametrize("key", [None, b"somebody-else"])
async def test_a_record_without_a_prospect_has_the_key_of_its_day(sealed: StreamGate, key: bytes | None) -> None:
    value = sealed.events.transfer("sealed-nobody", "t-nobody") if key else b"unreadable"
    sent = await sealed.send(sealed.topics.transfers, value, key)
    outputs = await sealed.outputs()
    (held,) = outputs.held(sent)
    days = [one for one in outputs.changelog if (one.key or b"").startswith(b"\xffday-")]
    assert key_of(held) in [json.loads(one.value or b"{}")["sealing_key"]["key_id"] for one in days]
    await send_back(sealed, held)
    assert len((await sealed.outputs()).held(sent)) == 2


@pytest.mark.parametrize("part", ["value", "coordinates"])
async def test_an_altered_record_is_refused_and_stays_open(sealed: StreamGate, part: str) -> None:
    sent, record = await held_transfer(sealed, f"sealed-altered-{part}")
    other, theirs = await held_transfer(sealed, f"sealed-other-{part}")
    headers, value = told(record), record.value or b""
    if part == "value":
        value = value[:-1] + bytes([value[-1] ^ 1])
    else:
        headers |= {name: told(theirs)[name] for name in ("tg-source-offset", "tg-quarantine-id")}
    await sealed.send(sealed.topics.replay, value, record.key, list(headers.items()))
    outputs = await sealed.outputs()
    assert [len(outputs.held(one)) for one in (sent, other)] == [1, 1]
    entry = (await ledger_of(sealed))[headers["tg-quarantine-id"].decode()]
    assert (entry.state, entry.attempt) == ("open", 1)
    assert "altered" in (entry.why or "")


async def test_a_new_master_key_opens_what_the_old_one_wrapped_and_rewraps_it(sealed: StreamGate) -> None:
    _, record = await held_transfer(sealed, "sealed-rotated")
    keys = sealed.place.folder / "keys"
    keys.write_text(key_line(b"2") + keys.read_text(encoding="ascii"), encoding="ascii")
    code, _ = await sealed.worker.terminate()
    assert code == 0
    await sealed.place.start_worker().until_ready()
    await sealed.send(sealed.topics.replay, None, b"sealed-rotated", [("tg-replay-action", b"rewrap")])
    before, after = await states(sealed, b"sealed-rotated")
    assert before["sealing_key"]["key_id"] == after["sealing_key"]["key_id"] == key_of(record)
    assert before["sealing_key"]["master_id"] != after["sealing_key"]["master_id"]
    await sealed.consent("sealed-rotated")
    await send_back(sealed, record)
    assert len((await sealed.outputs()).released_to(FIRST, "sealed-rotated")) == 1


async def test_a_worker_without_the_master_key_neither_replays_nor_forgets(sealed: StreamGate) -> None:
    """A key that can't be unwrapped must not be replaced: what it sealed would be lost."""
    sent, record = await held_transfer(sealed, "sealed-unopened")
    keys = sealed.place.folder / "keys"
    kept = keys.read_text(encoding="ascii")
    keys.write_text(key_line(b"3"), encoding="ascii")
    await sealed.worker.terminate()
    worker = sealed.place.start_worker()
    await worker.until_ready()
    await send_back(sealed, record)
    await sealed.settled()
    entry = entry_about(await ledger_of(sealed), record)
    assert entry is not None
    assert (entry.state, entry.attempt) == ("open", 1)
    value = sealed.events.transfer("sealed-unopened", "t-later")
    later = await sealed.send(sealed.topics.transfers, value, b"sealed-unopened")
    await worker.until(lambda: not worker.running, "stopped by the missing key")
    assert "QUARANTINE_KEY_FILE" in worker.log.read_text(encoding="utf-8")
    worker.ended_by_us = True
    keys.write_text(key_line(b"3") + kept, encoding="ascii")
    await sealed.place.start_worker().until_ready()
    await send_back(sealed, record)
    outputs = await sealed.outputs()
    assert [len(outputs.held(one)) for one in (sent, later)] == [2, 1]


def key_line(letter: bytes) -> str:
    """A line of a key file."""
    return base64.b64encode(letter * KEY_BYTES).decode() + "\n"


def key_of(record: Record) -> str:
    """Id of the key that sealed a record."""
    key: str = json.loads(told(record)["tg-encryption"])["key"]
    return key


async def erase(gate: StreamGate, prospect: str) -> None:
    value = gate.events.against("erasure", prospect, f"erasure-{prospect}")
    await gate.send(gate.topics.consents, value, prospect.encode())


async def states(gate: StreamGate, key: bytes) -> list[dict[str, Any]]:
    """Every state that the changelog got for a key."""
    outputs = await gate.outputs()
    return [json.loads(record.value or b"{}") for record in outputs.changelog if record.key == key]
