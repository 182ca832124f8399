"""Every command over records whose keys, values, headers and names are hostile to whoever prints them: no character
that moves a cursor, ends a line or turns its direction comes out, no line is forged, and none ends in a traceback."""

import json
import unicodedata
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import click
import orjson
import pytest
import pytest_asyncio

from tests.support.quarantine_gate import Operator
from tests.support.raw_batches import batch, produce
from tests.support.stream_gate import StreamGate, open_gate
from transfer_gate.cli import cli

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: Colours, a title, a cleared screen, a forged line, direction, line and paragraph separators, C1, a joiner, zero.
HOSTILE: Final = "\x1b[31m\x1b]0;owned\x07\x1b[2J\r\nFORGED 0:0 line\u202eabc\u2066\u2028\u2029\x85\x9b\u200d\x00"
NAMES: Final = HOSTILE.encode()
#: Key of no prospect, larger than what a page of a terminal takes.
LARGE_KEY: Final = NAMES * (900_000 // len(NAMES))
#: Commands that print nothing of records, or run until they are stopped (their logs: tests/unit/observe/test_logs.py).
PRINT_NO_RECORDS: Final = {
    "worker", "topics apply", "topics grow", "registry check", "registry diff", "policy test", "key new",
    "schema export", "partner new", "sample", "init", "completion",
    "kafka start", "kafka status", "kafka stop", "demo", "consent import", "consent tail", "ingest test",
    # What they print of records is what `status` prints.
    "key promote", "key rotate", "replay approve", "replay cancel",
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hostile(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StreamGate]:
    """A gate with whatever can be hostile in a record."""
    async with open_gate(bootstrap_servers, tmp_path_factory.mktemp("hostile"), partitions=1) as gate:
        topics, events = gate.topics, gate.events
        who = f"p-{HOSTILE}"[:100]
        transfer = orjson.loads(events.transfer(who, f"e-{HOSTILE}"))
        odd = transfer | {
            "offer_category": HOSTILE, "purpose": HOSTILE, "attributes": {HOSTILE: HOSTILE}, "notice_version": HOSTILE,
            "partner_ids": ["acme", HOSTILE], "source": {"role": "reseller", "chain": [HOSTILE]},
        }  # fmt: skip
        headers = [(HOSTILE, NAMES), (f"tg-reason{HOSTILE}", NAMES), ("tg-partner", NAMES), ("tg-reasons", NAMES)]
        for key, value in (
            (who.encode(), orjson.dumps(transfer)),
            (who.encode(), orjson.dumps(odd)),
            (who.encode(), orjson.dumps({**transfer, "prospect_id": HOSTILE})),
            (NAMES, NAMES),
            (None, b"{" + NAMES),
            (LARGE_KEY, b"{"),
        ):
            await gate.send(topics.transfers, value, key, headers)
        for key, value in ((who.encode(), b'{"type": "withdrawal' + NAMES), (NAMES, NAMES), (None, NAMES)):
            await gate.send(topics.consents, value, key, headers)
        raw = batch([(b"raw", b"{", [(NAMES + b"\xff\xfe", NAMES)])])
        await produce(bootstrap_servers, topics.transfers, 0, raw)
        await gate.send(topics.replay, NAMES, NAMES, headers)
        await gate.send(topics.audit, orjson.dumps({"action": HOSTILE, "by": HOSTILE, "outcome": HOSTILE}), None)
        await gate.settled()
        yield gate


@pytest.fixture
def run(hostile: StreamGate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    """An operator of that gate, whose name is as hostile."""
    monkeypatch.setenv("COLUMNS", "200")
    return Operator(hostile, monkeypatch, capsys)


def misleading(text: str) -> set[str]:
    return {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


def leaves(command: click.Command, *names: str) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield " ".join(names)
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from leaves(inner, *names, name)


async def test_no_command_prints_what_misleads_a_terminal_or_a_reader(run: Operator, tmp_path: Path) -> None:
    asked: set[str] = set()

    async def ask(*arguments: object, codes: tuple[int, ...] = (0,)) -> str:
        asked.add(next(name for name in leaves(cli) if " ".join(map(str, arguments)).startswith(name)))
        code, out, err = await run(*arguments)
        assert code in codes, f"{arguments}: {code}\n{err}"
        assert "Traceback" not in err
        for text in (out, err):
            assert not misleading(text), f"{arguments}: {misleading(text)!r}"
            assert not any(line.startswith("FORGED") for line in text.splitlines()), arguments
        return out

    why = ("--why", f"because {HOSTILE}"[:200])
    rows = [json.loads(line) for line in (await ask("quarantine", "list", "--output", "jsonl")).splitlines()]
    assert len(rows) >= 10
    for output in ("table", "json"):
        await ask("quarantine", "list", "--output", output)
        await ask("quarantine", "list", "--counts", "--output", output)
        await ask("consent", "unreadable", "--output", output)
        await ask("consent", "unreadable", "--reveal", *why, "--output", output)
    await ask("quarantine", "list", "--reveal", *why)
    for row in rows:
        name, decision = row["quarantine_id"], row["decision_id"]
        for more in ((), ("--reveal", *why)):
            await ask("quarantine", "show", name, *more)
            await ask("quarantine", "explain", name, *more)
        await ask("quarantine", "show", name, "--reveal", *why, "--output", "json")
        if decision is not None:
            await ask("policy", "explain", "--decision", decision)
    file = tmp_path / "held.jsonl"
    await ask("quarantine", "export", file, *why)
    assert not misleading(file.read_text(encoding="utf-8"))
    await ask("quarantine", "discard", rows[-1]["quarantine_id"], *why)
    await ask("quarantine", "show", rows[-1]["quarantine_id"])
    plan = json.loads(await ask("replay", "plan", "--ticket", HOSTILE[:60], "--output", "json"))["plan_id"]
    await ask("replay", "plan")
    await ask("replay", "run", plan, "--breaker", "1")
    await ask("replay", "status", plan)
    await ask("consent", "resolve", "--prospect", HOSTILE, "--offset", "0", *why, "--yes", codes=(0, 3))
    await ask("key", "status", codes=(0, 3))
    for command in ("verify", "audit", "doctor"):
        await ask(command, codes=(0, 1))
    assert asked | PRINT_NO_RECORDS == set(leaves(cli))
    assert not asked & PRINT_NO_RECORDS
