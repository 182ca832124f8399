"""A partner on rehearsal, end to end: what `partner new` writes, a gate that decides by it, and the kit's consumer as a
process against the partner's topic, killed and started again."""

import asyncio
import contextlib
import os
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import pytest_asyncio

from tests.support.clients import read_all
from tests.support.processes import running
from tests.support.stream_gate import StreamGate, json_of, open_gate
from tests.support.workers import PATIENCE
from transfer_gate.model.transfer import INVENTED

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARTY: Final = "nouvelle"
LONG_AGO: Final = "2020-01-01T00:00:00+01:00"
GIVEN: Final = (
    "--legal-name", "Nouvelle SA", "--registration-no", "900000077", "--country", "FR", "--category", "insurance",
    "--contract-id", "K-77", "--contract-from", LONG_AGO, "--no-onward", "--listed-from", LONG_AGO,
    "--suppression-topic", f"suppressions.{PARTY}", "--field", "first_name",
)  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rehearsing(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StreamGate]:
    """A gate that was started anew after `partner new` had written to its registry and a notice named the partner."""
    async with open_gate(bootstrap_servers, tmp_path_factory.mktemp("rehearsal"), partitions=2) as gate:
        place = gate.place
        registry = place.folder / "registry"
        out = place.folder / "new"
        code, _, errors = await asyncio.to_thread(place.run, "partner", "new", PARTY, *GIVEN, "--out", str(out))
        assert code == 0, errors
        notice = registry / "notices" / "n-current.yaml"
        notice.write_text(notice.read_text("utf-8").replace("  - acme\n", f"  - acme\n  - {PARTY}\n", 1), "utf-8")
        policy = registry / "policy.yaml"
        raised = [
            "published_at: '2026-01-01T00:00:00+01:00'" if line.startswith("published_at") else line
            for line in policy.read_text("utf-8").splitlines()
        ]
        policy.write_text("\n".join(raised), "utf-8")
        await asyncio.to_thread(place.apply_topics)
        await gate.worker.terminate()
        await place.start_worker().until_ready()
        yield gate


async def ask(gate: StreamGate, prospect: str, contact: dict[str, Any]) -> str:
    """Consent of the prospect to the partner, then a transfer by e-mail; returns the event id."""
    consent = gate.events.consent(prospect, f"c-{prospect}", party_ids=[PARTY])
    await gate.send(gate.topics.consents, consent, prospect.encode())
    event = f"t-{prospect}"
    body = orjson.loads(gate.events.transfer(prospect, event, partners=[PARTY], channels=["email"]))
    await gate.send(gate.topics.transfers, orjson.dumps(body | {"contact": contact}), prospect.encode())
    return event


def address(value: str) -> dict[str, Any]:
    return {"email": {"value": value, "type": "personal"}}


async def released(gate: StreamGate) -> list[dict[str, Any]]:
    topic = f"{gate.topics.prefix}partner.{PARTY}"
    return [json_of(record) async for record in read_all(gate.place.bootstrap_servers, [topic], 2)]


async def test_an_invented_person_is_released_and_a_real_one_quarantined(rehearsing: StreamGate) -> None:
    gate, who = rehearsing, secrets.token_hex(3)
    invented, real, disguised = f"{INVENTED}{who}", f"p-{who}", f"{INVENTED}x-{who}"
    await ask(gate, invented, address("invented@example.org"))
    await ask(gate, real, address("real@example.org"))
    await ask(gate, disguised, address("claire@courriel.example.fr"))
    await gate.settled()
    people = [body["prospect_id"] for body in await released(gate)]
    assert invented in people
    assert not {real, disguised} & set(people)
    reasons = {
        body["prospect_id"]: body["quarantined"].get("email")
        async for record in read_all(gate.place.bootstrap_servers, [gate.topics.decisions], 2)
        if (body := json_of(record))["partner_id"] == PARTY
    }
    assert reasons[real] == reasons[disguised] == ["partner-on-rehearsal"]
    assert reasons[invented] is None
    code, out, errors = await asyncio.to_thread(gate.place.run, "audit")
    assert code == 0, out + errors


@contextlib.contextmanager
def consumer(gate: StreamGate, store: Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The kit's consumer as it was written; ended by SIGKILL."""
    program = gate.place.folder / "new" / "kit" / "consumer.py"
    command = [sys.executable, str(program), gate.place.bootstrap_servers, str(store)]
    with (
        log.open("ab") as written,
        running(command, stdout=written, stderr=written, env=os.environ | {"PYTHONUNBUFFERED": "1"}) as process,
    ):
        yield process


async def until(holds: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert process.poll() is None, await asyncio.to_thread(log.read_text)
        assert time.monotonic() < deadline, await asyncio.to_thread(log.read_text)
        await asyncio.sleep(0.05)


def rows(store: Path, query: str) -> list[tuple[Any, ...]]:
    if not store.exists():
        return []
    with contextlib.closing(sqlite3.connect(store, timeout=10)) as opened:
        try:
            return opened.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []  # the tables are not there yet


async def test_the_consumer_of_the_kit_takes_each_transfer_once_through_a_kill_and_acknowledges_stops(
    rehearsing: StreamGate, tmp_path: Path
) -> None:
    gate, who = rehearsing, secrets.token_hex(3)
    store, log, prefix = tmp_path / "store.db", tmp_path / "log", gate.topics.prefix
    people = [f"{INVENTED}{who}-{number}" for number in range(20)]
    for person in people[:10]:
        await ask(gate, person, address("invented@example.org"))
    await gate.settled()
    taken = "SELECT transfer_id FROM transfers"
    with consumer(gate, store, log) as process:
        await until(lambda: len(rows(store, taken)) >= 3, process, log)
    # As after a crash before the offset was committed: what was taken already stands on the topic again.
    again = (await released(gate))[:10]
    for body in again:
        await gate.producer.send_and_wait(
            f"{prefix}partner.{PARTY}", orjson.dumps(body), key=body["prospect_id"].encode()
        )
    for person in people[10:]:
        await ask(gate, person, address("invented@example.org"))
    await gate.settled()
    withdrawal = gate.events.against("withdrawal", people[0], f"w-{who}")
    await gate.send(gate.topics.consents, withdrawal, people[0].encode())
    await gate.settled()
    suppressions = f"{prefix}suppressions.{PARTY}"
    (notice,) = [json_of(record) async for record in read_all(gate.place.bootstrap_servers, [suppressions], 2)]
    assert (notice["prospect_id"], notice["version"], notice["stopped"][0]["cause"]) == (people[0], 1, "withdrawal")
    wanted = {body["transfer_id"] for body in await released(gate)}
    acks = f"{prefix}suppression-acks.{PARTY}"
    with consumer(gate, store, log) as process:
        await until(lambda: {row[0] for row in rows(store, taken)} == wanted, process, log)
        await until(lambda: bool(rows(store, "SELECT 1 FROM stops")), process, log)
        deadline = time.monotonic() + PATIENCE
        while not (found := [json_of(r) async for r in read_all(gate.place.bootstrap_servers, [acks], 2)]):
            assert time.monotonic() < deadline, await asyncio.to_thread(log.read_text)
            await asyncio.sleep(0.1)
    assert (found[0]["notice_id"], found[0]["state"]) == (notice["notice_id"], "applied")
    assert len(rows(store, taken)) == len(wanted), "no double"

    kit: dict[str, Any] = {"__name__": "kit"}
    exec((gate.place.folder / "new" / "kit" / "consumer.py").read_text("utf-8"), kit)  # noqa: S102
    with contextlib.closing(sqlite3.connect(store)) as opened:
        bodies = [orjson.loads(body) for (body,) in opened.execute("SELECT body FROM transfers")]
        usable = {body["prospect_id"]: kit["usable"](opened, body, "email") for body in bodies}
        assert [usable[person] for person in people] == [False, *([True] * 19)]
        body = next(body for body in bodies if body["prospect_id"] == people[1])
        assert not kit["usable"](opened, body, "sms"), "a channel that was not released"
        kit["stop"](opened, people[0], notice | {"version": 2, "stopped": []})
        kit["stop"](opened, people[0], notice)
        assert kit["usable"](opened, next(b for b in bodies if b["prospect_id"] == people[0]), "email"), "lifted stays"
        erasure = [{"cause": "erasure", "since": body["released_at"]}]
        kit["stop"](opened, people[1], notice | {"stopped": erasure, "transfer_ids": []})
        assert opened.execute("SELECT body FROM transfers WHERE prospect_id = ?", (people[1],)).fetchone() != (None,)
        kit["stop"](opened, people[1], notice | {"stopped": erasure, "transfer_ids": [body["transfer_id"]]})
        assert not kit["take"](opened, body), "not taken again after an erasure"
        assert opened.execute("SELECT body FROM transfers WHERE prospect_id = ?", (people[1],)).fetchone() == (None,)


async def test_a_sample_is_like_the_range_and_holds_nothing_of_it(rehearsing: StreamGate) -> None:
    gate, who = rehearsing, secrets.token_hex(3)
    real = f"canary-{who}"
    body = orjson.loads(gate.events.transfer(real, f"t-{real}", partners=[PARTY], channels=["email", "sms"]))
    changed = body | {"contact": address(f"{real}@courriel.example"), "attributes": {"first_name": real, real: real}}
    sent = await gate.send(gate.topics.transfers, orjson.dumps(changed), real.encode())
    broken = await gate.send(gate.topics.transfers, f'{{"{real}'.encode(), real.encode())
    _, partition, offset = sent.place
    line = f"{partition}:{offset}-{broken.place[2] + 1}"
    code, out, errors = await asyncio.to_thread(gate.place.run, "sample", "--like", line)
    assert code == 0, errors
    assert "1 made, 1 left out" in errors
    key, _, value = out.rstrip("\n").partition("\t")
    made = orjson.loads(value)
    assert key == made["prospect_id"]
    assert key.startswith(INVENTED)
    assert made["channels"] == ["email", "sms"]
    assert made["partner_ids"] == [PARTY]
    assert who not in out + errors
