"""A gate that encrypts its quarantine, with the command line of an operator beside it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.clients import read_all
from tests.support.command_line import CommandLine
from tests.support.stream_gate import Sent, StreamGate, open_gate
from tests.support.workers import Installation
from transfer_gate.gate.inbox import Record
from transfer_gate.quarantine.master_keys import new_key
from transfer_gate.records import ids
from transfer_gate.settings import Settings

OPERATOR: Final = "ops-anna"


class Operator:
    """Runs commands against a gate, in this process: each in a thread, because it brings its own event loop."""

    def __init__(self, gate: StreamGate, patch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]) -> None:
        self.gate = gate
        for name, value in gate.place._environment.items():
            if name.startswith("TRANSFER_GATE_"):
                patch.setenv(name, value)
        patch.setenv("TRANSFER_GATE_OPERATOR", OPERATOR)
        self._run = CommandLine(patch, captured)

    async def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        return await asyncio.to_thread(self._run, *arguments)

    async def json(self, *arguments: object) -> Any:
        """What a command prints with `--output json`; it must succeed."""
        code, out, err = await self(*arguments, "--output", "json")
        assert code == 0, err
        return json.loads(out)

    async def rows(self, *arguments: object) -> list[dict[str, Any]]:
        """What `quarantine list` prints with `--output jsonl`; none when it says that nothing matches."""
        code, out, err = await self("quarantine", "list", *arguments, "--output", "jsonl")
        assert code in (0, 3), err
        return [json.loads(line) for line in out.splitlines()]

    async def audit_events(self, action: str) -> list[dict[str, Any]]:
        """What the audit topic holds of one command, in order."""
        topics, servers = self.gate.topics, self.gate.place.bootstrap_servers
        events = [json.loads(record.value or b"") async for record in read_all(servers, [topics.audit], 1)]
        return [event for event in events if event["action"] == action]


def settings_of(gate: StreamGate) -> Settings:
    """The settings that the gate's workers run with."""
    return settings_at(gate.place)


def settings_at(place: Installation) -> Settings:
    """The settings of the commands and workers of an installation."""
    prefix = "TRANSFER_GATE_"
    given = {
        name.removeprefix(prefix).lower(): value
        for name, value in place._environment.items()
        if name.startswith(prefix)
    }
    return Settings(_env_file=None, **given)  # type: ignore[call-arg, arg-type]


def id_of(sent: Sent, partner: str = "") -> str:
    """Quarantine id of an input record."""
    return ids.quarantine_id(*sent.place, partner)


async def ledger_of(gate: StreamGate) -> list[Record]:
    """Everything in the ledger."""
    servers = gate.place.bootstrap_servers
    return [record async for record in read_all(servers, [gate.topics.ledger], gate.place.partitions)]


async def hold(gate: StreamGate, prospect: str, partners: Sequence[str] = ("acme",)) -> Sent:
    """Send a transfer of somebody who never consented: it is held, by e-mail and SMS."""
    value = gate.events.transfer(prospect, f"t-{prospect}", partners)
    return await gate.send(gate.topics.transfers, value, prospect.encode())


@asynccontextmanager
async def open_sealed_gate(bootstrap_servers: str, folder: Path, **settings: Any) -> AsyncIterator[StreamGate]:
    """A gate of two partitions whose quarantine is encrypted; the key file is `folder/keys`."""
    new_key(folder / "keys", "a test")
    given = {"partitions": 2, "quarantine_key_file": folder / "keys"} | settings
    async with open_gate(bootstrap_servers, folder, **given) as gate:
        yield gate
