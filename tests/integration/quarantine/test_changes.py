"""What operators change in a real quarantine: discard and resolve. The gate does it, and it is audited."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.quarantine_gate import (
    OPERATOR,
    Operator,
    hold,
    id_of,
    ledger_of,
    open_sealed_gate,
    settings_of,
)
from tests.support.stream_gate import StreamGate
from transfer_gate.kafka.session import open_session
from transfer_gate.records.ledger import decode_entry

#: The producer of the gate belongs to the loop of the session.
pytestmark = pytest.mark.asyncio(loop_scope="session")

WHY = ("--why", "the campaign ended")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gate(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StreamGate]:
    """One gate; each test keeps to prospects of its own."""
    async with open_sealed_gate(
        bootstrap_servers, tmp_path_factory.mktemp("acts"), discard_confirm_records=2
    ) as opened:
        yield opened


@pytest.fixture
def run(gate: StreamGate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    """An operator of that gate."""
    return Operator(gate, monkeypatch, capsys)


async def states(run: Operator, *quarantine_ids: str) -> list[str]:
    """The state of each of these records."""
    found = {row["quarantine_id"]: row["state"] for row in await run.rows()}
    return [found[quarantine_id] for quarantine_id in quarantine_ids]


async def entries_of(gate: StreamGate, quarantine_id: str) -> list[Any]:
    """What the ledger holds of one id, in order."""
    written = [record for record in await ledger_of(gate) if record.key == quarantine_id.encode()]
    return [decode_entry(record.value or b"") for record in written]


async def test_what_is_discarded_is_in_the_ledger_and_never_taken_again(gate: StreamGate, run: Operator) -> None:
    """The gate itself writes it; a replay of the very record, even after a consent, comes to nothing."""
    sent = await hold(gate, "ac-anna")
    await gate.settled()
    quarantine_id = id_of(sent, "acme")
    code, out, err = await run("quarantine", "discard", quarantine_id, *WHY, "--ticket", "OPS-1")
    assert code == 0, err
    assert out.startswith("discarded 1 of 1 records")
    (entry,) = await entries_of(gate, quarantine_id)
    assert (entry.state, entry.attempt, entry.why) == ("discarded", 1, WHY[1])
    assert await run.rows("--prospect", "ac-anna", "--open-only") == []
    started, finished = (await run.audit_events("quarantine discard"))[-2:]
    assert (finished["by"], finished["ticket"], finished["why"]) == (OPERATOR, "OPS-1", WHY[1])
    assert finished["digest"] == started["digest"]
    assert (finished["outcome"], finished["details"]["discarded"]) == ("done", 1)

    await gate.consent("ac-anna")
    (held,) = (await gate.outputs()).held(sent)
    settings = settings_of(gate)
    replay = settings.topics.replay
    async with open_session(settings) as session:
        async with session.producer.sender(replay) as sender:
            await sender.send(held.partition, held.key, held.value, held.headers)
        assert await session.cluster.await_commits(settings.app_id, replay, sender.reached, 30)
    outputs = await gate.outputs()
    assert outputs.released_to("acme", "ac-anna") == []
    assert len(outputs.held(sent)) == len(await entries_of(gate, quarantine_id)) == 1


async def test_a_dry_run_changes_nothing_and_a_second_discard_finds_nothing(gate: StreamGate, run: Operator) -> None:
    quarantine_id = id_of(await hold(gate, "ac-ben"), "acme")
    await gate.settled()
    before = len(await run.audit_events("quarantine discard"))
    code, out, _ = await run("quarantine", "discard", "--prospect", "ac-ben", "--dry-run")
    assert (code, out[:23]) == (0, "would discard 1 records")
    assert await states(run, quarantine_id) == ["open"]
    assert len(await run.audit_events("quarantine discard")) == before
    assert (await run("quarantine", "discard", "--prospect", "ac-ben", *WHY))[0] == 0
    assert await states(run, quarantine_id) == ["discarded"]
    assert (await run("quarantine", "discard", "--prospect", "ac-ben", *WHY))[0] == 3


async def test_many_records_need_a_yes(gate: StreamGate, run: Operator) -> None:
    """More than the setting allows; the guard names itself."""
    quarantine_ids = [id_of(await hold(gate, f"ac-many-{n}"), "acme") for n in range(3)]
    await gate.settled()
    code, _, err = await run("quarantine", "discard", *quarantine_ids, *WHY)
    assert code == 5
    assert "size guard" in err
    assert await states(run, *quarantine_ids) == ["open"] * 3
    code, _, err = await run("quarantine", "discard", *quarantine_ids, *WHY, "--yes")
    assert code == 0, err
    assert await states(run, *quarantine_ids) == ["discarded"] * 3


async def test_ids_that_are_not_open_are_named_and_the_others_discarded(gate: StreamGate, run: Operator) -> None:
    gone = "00000000-0000-5000-8000-000000000000"
    sent = await hold(gate, "ac-cleo")
    await gate.settled()
    code, out, err = await run("quarantine", "discard", id_of(sent, "acme"), gone, *WHY)
    assert code == 4
    assert "discarded 1 of 1" in out
    assert f"not open, or not in quarantine: {gone}" in err


async def test_a_discard_without_a_reason_is_refused(gate: StreamGate, run: Operator) -> None:
    code, _, err = await run("quarantine", "discard", "--partner", "acme")
    assert code == 5
    assert "--why" in err


async def test_a_record_without_key_and_value_can_be_discarded(gate: StreamGate, run: Operator) -> None:
    """A tombstone without a key: Kafka's own `send` would refuse such a record."""
    sent = await gate.send(gate.topics.transfers, None, None, partition=0)
    await gate.settled()
    assert (await run("quarantine", "discard", id_of(sent), *WHY))[0] == 0
    assert [entry.state for entry in await entries_of(gate, id_of(sent))] == ["discarded"]


async def test_an_unreadable_consent_event_blocks_until_it_is_resolved(gate: StreamGate, run: Operator) -> None:
    """It can't be discarded past the resolution; resolving needs a yes, lifts the block and clears the copy."""
    key = b"ac-dora"
    await gate.consent("ac-dora")
    broken = gate.events.against("unreadable", "ac-dora", "w-1")
    event = await gate.send(gate.topics.consents, broken, key, partition=1)
    blocked = await hold(gate, "ac-dora")
    await gate.settled()

    listed = await run.json("consent", "unreadable")
    (row,) = [row for row in listed["unreadable"] if row["quarantine_id"] == id_of(event)]
    assert (row["place"], row["looks_like"], row["blocks"]) == (f"1:{event.place[2]}", ["withdrawal"], True)
    assert "ac-dora" not in json.dumps(listed)
    code, _, err = await run("quarantine", "discard", id_of(event), *WHY)
    assert code == 3
    assert "consent unreadable" in err

    options = ("consent", "resolve", "--prospect", "ac-dora", "--offset", event.place[2], "--why", "sent again: w-2")
    code, _, err = await run(*options)
    assert code == 5
    assert "looks like withdrawal" in err
    code, out, err = await run(*options, "--yes", "--ticket", "OPS-2")
    assert code == 0, err
    assert out == f"resolved 1 unreadable consent events, at 1:{event.place[2]}\n"

    (entry,) = await entries_of(gate, id_of(event))
    assert (entry.state, entry.why) == ("discarded", "sent again: w-2")
    finished = (await run.audit_events("consent resolve"))[-1]
    assert (finished["outcome"], finished["ticket"], finished["details"]["copies"]) == ("done", "OPS-2", 1)
    again = await gate.send(gate.topics.transfers, blocked.value, key, partition=1)
    outputs = await gate.outputs()
    assert outputs.held(again) == []
    assert len(outputs.released_to("acme", "ac-dora")) == 1


async def test_an_event_is_resolved_by_its_copy_and_without_naming_anybody(gate: StreamGate, run: Operator) -> None:
    """Another event of the same person still blocks, and the command reports it."""
    other = await gate.send(gate.topics.consents, b"{", b"ac-emil", partition=0)
    event = await gate.send(gate.topics.consents, b"\xff", b"ac-emil", partition=0)
    await gate.settled()
    code, out, err = await run("consent", "resolve", "--quarantine-id", id_of(event), "--why", "noise", "--yes")
    assert code == 0, err
    assert "its type is not known" in err
    assert "ac-emil" not in out + err
    assert f"still blocked, by the unreadable events at 0:{other.place[2]}\n" in err
    assert [entry.state for entry in await entries_of(gate, id_of(event))] == ["discarded"]


async def test_an_event_about_another_prospect_than_its_key_is_resolved_for_each(
    gate: StreamGate, run: Operator
) -> None:
    """It marks both, wherever they are at home."""
    people = ("ac-gina", "ac-hugo", "ac-ines")
    for who in people:
        await gate.consent(who)
    key = people[0].encode()
    events = [
        await gate.send(gate.topics.consents, gate.events.against("withdrawal", who, f"w-{who}"), key)
        for who in people[1:]
    ]
    await gate.settled()
    await gate.settled()  # what came home meanwhile

    async def released() -> set[str]:
        for who in people:
            value = gate.events.transfer(who, f"t-{who}-{len(events)}")
            await gate.send(gate.topics.transfers, value, who.encode())
        return {body["prospect_id"] for body in (await gate.outputs()).released_to("acme", *people)}

    assert await released() == set()
    for who, marking in ((people[0], events), (people[1], events[:1]), (people[2], events[1:])):
        offsets = [word for event in marking for word in ("--offset", str(event.place[2]))]
        code, _, err = await run("consent", "resolve", "--prospect", who, *offsets, "--why", "both sent again", "--yes")
        assert code == 0, err
        assert "still blocked" not in err
    await gate.settled()
    events.clear()
    assert await released() == set(people)


@pytest.mark.parametrize("key", [None, b"undefined"])
async def test_an_unreadable_event_about_no_person_is_only_discarded(
    gate: StreamGate, run: Operator, key: bytes | None
) -> None:
    event = await gate.send(gate.topics.consents, b"{", key, partition=1)
    await gate.settled()
    ends = (await gate.committed())[gate.topics.consents, 1]
    code, out, err = await run("consent", "resolve", "--quarantine-id", id_of(event), "--why", "noise")
    assert code == 0, err
    assert "about no person" in out
    assert (await gate.committed())[gate.topics.consents, 1] == ends
    assert [entry.state for entry in await entries_of(gate, id_of(event))] == ["discarded"]


async def test_only_unreadable_events_of_that_prospect_are_resolved(gate: StreamGate, run: Operator) -> None:
    """A readable event, another's offset and one beyond the end are no such event: exit 3, nothing is written."""
    consent = await gate.consent("ac-fred")
    await gate.settled()
    for offset in (consent.place[2], 999_999):
        code, _, err = await run(
            "consent", "resolve", "--prospect", "ac-fred", "--offset", offset, "--why", "x", "--yes"
        )
        assert code == 3
        assert f"at offset {offset}" in err
    code, _, err = await run("consent", "resolve", "--prospect", "ac-fred", "--why", "x")
    assert code == 2


async def test_keys_are_not_rotated_to_a_master_key_that_the_workers_lack(
    gate: StreamGate, run: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition would stop at it: the command refuses instead, and names the worker."""
    assert (await run("key", "new", "--file", tmp_path / "other"))[0] == 0
    monkeypatch.setenv("TRANSFER_GATE_QUARANTINE_KEY_FILE", str(tmp_path / "other"))
    code, _, err = await run("key", "rotate")
    assert code == 5
    assert "1 of 1 running workers do not have the key" in err


async def test_the_audit_topic_has_it_when_a_command_fails(gate: StreamGate, run: Operator, tmp_path: Path) -> None:
    """Whatever it had done by then stands beside it; the error only by its kind."""
    event = await gate.send(gate.topics.consents, b"{", b"ac-ida", partition=0)
    await hold(gate, "ac-ida")
    await gate.settled()
    (tmp_path / "held").touch()
    assert (await run("quarantine", "export", tmp_path / "held", "--prospect", "ac-ida"))[0] == 2
    about = {"prospect_id": "one", "to": "held"}
    assert await last_acts(run, "quarantine export") == [
        ("started", about),
        ("failed", about | {"error": "InvalidInput"}),
    ]

    gate.worker.freeze()
    try:
        for command, acted in (
            (("quarantine", "discard", "--prospect", "ac-ida"), {"sent": 1, "discarded": 0, "pending": 1}),
            (("consent", "resolve", "--quarantine-id", id_of(event), "--yes"), {"offsets": [event.place[2]]}),
        ):
            assert (await run(*command, "--why", "noise", "--wait", 0))[0] == 4
            (began, _), (ended, details) = await last_acts(run, " ".join(command[:2]))
            assert (began, ended, details["error"]) == ("started", "failed", "PartiallyFailed")
            assert details.items() >= acted.items()
    finally:
        gate.worker.thaw()


@pytest.mark.parametrize(
    ("sent_signal", "shell"),
    [
        pytest.param(signal.SIGINT, (), id="SIGINT"),
        pytest.param(signal.SIGTERM, ("sh", "-c", 'trap "" INT; exec "$@"', "sh"), id="SIGTERM, SIGINT ignored"),
    ],
)
async def test_the_audit_topic_has_it_when_a_command_is_interrupted(
    gate: StreamGate, run: Operator, sent_signal: signal.Signals, shell: Sequence[str]
) -> None:
    sent = await hold(gate, f"ac-{sent_signal}")
    await gate.settled()
    before = len(await run.audit_events("quarantine discard"))
    gate.worker.freeze()
    try:
        command = ["quarantine", "discard", id_of(sent, "acme"), *WHY, "--wait", "600"]
        process = await asyncio.create_subprocess_exec(*shell, sys.executable, "-m", "transfer_gate", *command)
        deadline = time.monotonic() + 60
        while len(await run.audit_events("quarantine discard")) == before:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        process.send_signal(sent_signal)
        assert await asyncio.wait_for(process.wait(), 60) == 130
    finally:
        gate.worker.thaw()
    (began, about), (ended, details) = await last_acts(run, "quarantine discard")
    assert (began, ended, details) == ("started", "interrupted", about)


async def last_acts(run: Operator, action: str) -> list[tuple[str, dict[str, Any]]]:
    """Outcome and details of the last two acts of this name."""
    return [(act["outcome"], act["details"]) for act in (await run.audit_events(action))[-2:]]
