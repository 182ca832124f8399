"""A record on the replay topic gets a fresh decision, at most once for each attempt (contract section 6, promise 4)."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.registry import PARTNERS
from tests.support.replays import entry_about, held_for, held_transfer, ledger_of, send_back, told
from tests.support.stream_gate import StreamGate, open_gate

FIRST, SECOND, _ = PARTNERS

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_record_whose_reason_is_gone_is_released_once_however_often_it_is_sent(gate: StreamGate) -> None:
    sent, record = await held_transfer(gate, "replay-healed")
    await gate.consent("replay-healed")
    for run in ("run-1", "run-1", "run-2"):
        await send_back(gate, record, run)
    outputs = await gate.outputs()
    (released,) = outputs.released_to(FIRST, "replay-healed")
    assert released["channels"] == ["email", "sms"]
    first, again = outputs.decided(sent)
    assert (first["attempt"], again["attempt"], again["replay_run"]) == (1, 2, "run-1")
    assert first["decision_id"] != again["decision_id"] == released["decision_id"]
    assert again["source"] == first["source"]
    assert again["input_sha256"] == first["input_sha256"]
    entry = entry_about(await ledger_of(gate), record)
    assert entry is not None
    assert (entry.state, entry.attempt, entry.run, entry.released) == ("replayed", 2, "run-1", ("email", "sms"))
    assert len(outputs.held(sent)) == 1


async def test_a_record_that_is_still_unlawful_goes_back_byte_for_byte_with_its_history(gate: StreamGate) -> None:
    sent, record = await held_transfer(gate, "replay-unlawful")
    await send_back(gate, record, "run-1")
    _, second = await held_for(gate, sent)
    await send_back(gate, second, "run-2")
    await send_back(gate, record, "run-3")
    _, again, third = await held_for(gate, sent)
    assert again.offset == second.offset
    for number, run, later in ((2, b"run-1", second), (3, b"run-2", third)):
        ours = told(later)
        assert (later.key, later.value) == (sent.key, sent.value)
        assert ours["trace"] == b"1"
        assert ours["tg-attempt"] == b"%d" % number
        assert ours["tg-replay-run"] == run
        assert ours["tg-first-quarantined-at"] == told(record)["tg-first-quarantined-at"]
        assert ours["tg-quarantined-at"] > told(record)["tg-quarantined-at"]
        for name in ("tg-quarantine-id", "tg-source-topic", "tg-source-partition", "tg-source-offset", "tg-channels"):
            assert ours[name] == told(record)[name]
    entry = entry_about(await ledger_of(gate), record)
    assert entry is not None
    assert (entry.state, entry.attempt, entry.run) == ("open", 3, "run-2")


async def test_channels_that_are_lawful_now_go_and_the_others_stay(gate: StreamGate) -> None:
    sent, record = await held_transfer(gate, "replay-half")
    consent = json.loads(gate.events.consent("replay-half", "half")) | {"channels": ["sms"]}
    await gate.send(gate.topics.consents, json.dumps(consent).encode(), b"replay-half")
    await send_back(gate, record)
    outputs = await gate.outputs()
    (released,) = outputs.released_to(FIRST, "replay-half")
    assert released["channels"] == ["sms"]
    _, rest = outputs.held(sent)
    assert json.loads(told(rest)["tg-channels"] or b"") == ["email"]
    entry = entry_about(await ledger_of(gate), record)
    assert entry is not None
    assert (entry.state, entry.attempt, entry.released) == ("open", 2, ("sms",))
    assert entry.quarantined == {"email": ("electronic-optin",)}


async def test_a_withdrawal_right_before_the_replay_holds_it(gate: StreamGate) -> None:
    sent, record = await held_transfer(gate, "replay-withdrawn")
    await gate.consent("replay-withdrawn")
    await gate.send(
        gate.topics.consents,
        gate.events.against("withdrawal", "replay-withdrawn", "w"),
        b"replay-withdrawn",
    )
    await send_back(gate, record)
    outputs = await gate.outputs()
    assert not outputs.released_to(FIRST, "replay-withdrawn")
    assert told(outputs.held(sent)[-1])["tg-reason"] == b"not-withdrawn"


async def test_a_discarded_record_is_never_released(gate: StreamGate) -> None:
    sent, record = await held_transfer(gate, "replay-discarded")
    await gate.consent("replay-discarded")
    await send_back(gate, record, action="discard", why="duplicate of another request")
    await send_back(gate, record)
    outputs = await gate.outputs()
    assert not outputs.released_to(FIRST, "replay-discarded")
    assert len(outputs.held(sent)) == 1
    entry = entry_about(await ledger_of(gate), record)
    assert entry is not None
    assert (entry.state, entry.why) == ("discarded", "duplicate of another request")


async def test_a_record_that_could_not_be_read_stays_one_record(gate: StreamGate) -> None:
    sent = await gate.send(gate.topics.transfers, b'{"cut": ', b"replay-broken")
    (record,) = (await gate.outputs()).held(sent)
    await send_back(gate, record)
    _, again = (await gate.outputs()).held(sent)
    ours = told(again)
    assert (ours["tg-stage"], ours["tg-attempt"], again.value) == (b"decode", b"2", sent.value)
    assert ours["tg-quarantine-id"] == told(record)["tg-quarantine-id"]
    entry = entry_about(await ledger_of(gate), record)
    assert entry is not None
    assert (entry.state, entry.attempt, entry.quarantined) == ("open", 2, {"*": ("undecodable",)})


async def test_a_record_that_can_be_read_by_now_becomes_one_for_each_partner(gate: StreamGate) -> None:
    """As after a defect of the gate was mended: the value is a good transfer that quarantine holds as unreadable."""
    sent = await gate.send(gate.topics.transfers, b"unreadable then", b"replay-mended")
    (record,) = (await gate.outputs()).held(sent)
    value = gate.events.transfer("replay-mended", "t-replay-mended", (FIRST, SECOND))
    consent = gate.events.consent("replay-mended", "mended", party_ids=[FIRST])
    await gate.send(gate.topics.consents, consent, b"replay-mended")
    await gate.send(gate.topics.replay, value, record.key, record.headers, gate.home("replay-mended"))
    outputs = await gate.outputs()
    assert [body["channels"] for body in outputs.released_to(FIRST, "replay-mended")] == [["email", "sms"]]
    _, child = outputs.held(sent)
    ours = told(child)
    assert (ours["tg-partner"], ours["tg-attempt"], child.value) == (SECOND.encode(), b"2", value)
    ledger = await ledger_of(gate)
    parent, of_partner = entry_about(ledger, record), entry_about(ledger, child)
    assert parent is not None
    assert of_partner is not None
    assert parent.state == "replayed"
    assert parent.split == ((ours["tg-quarantine-id"] or b"").decode(),)
    assert (of_partner.state, of_partner.attempt) == ("open", 2)
    await send_back(gate, child)
    assert (await held_for(gate, sent, SECOND))[-1].offset > child.offset


async def test_a_consent_event_in_quarantine_is_not_replayed(gate: StreamGate) -> None:
    sent = await gate.send(gate.topics.consents, b"not a consent", b"replay-consent")
    (record,) = (await gate.outputs()).held(sent)
    await send_back(gate, record)
    outputs = await gate.outputs()
    assert len(outputs.held(sent)) == 1
    entry = entry_about(await ledger_of(gate), record)
    assert entry is not None
    assert entry.state == "open"
    assert "consent resolve" in (entry.why or "")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="none"),
        pytest.param([("tg-format", b"2")], id="another format"),
        pytest.param([("tg-format", b"1"), ("tg-quarantine-id", b"\xff")], id="not UTF-8"),
    ],
)
async def test_what_was_not_sent_by_our_commands_is_quarantined_as_it_is(
    gate: StreamGate, headers: list[tuple[str, bytes | None]]
) -> None:
    value = gate.events.transfer("replay-stranger", "t-stranger")
    await gate.consent("replay-stranger")
    sent = await gate.send(gate.topics.replay, value, b"replay-stranger", headers, gate.home("replay-stranger"))
    outputs = await gate.outputs()
    (held,) = outputs.held(sent)
    assert (held.value, told(held)["tg-stage"]) == (value, b"decode")
    assert not outputs.released_to(FIRST, "replay-stranger")


async def test_the_ledger_outlives_workers(bootstrap_servers: str, tmp_path: Path) -> None:
    async with open_gate(bootstrap_servers, tmp_path, partitions=1, session_timeout_seconds=3) as gate:
        _, record = await held_transfer(gate, "replay-outlived")
        await gate.consent("replay-outlived")
        await send_back(gate, record)
        await gate.settled()
        await asyncio.to_thread(gate.worker.kill)
        await gate.place.start_worker().until_ready()
        await send_back(gate, record)
        assert len((await gate.outputs()).released_to(FIRST, "replay-outlived")) == 1
