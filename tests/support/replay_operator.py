"""An operator of one gate: quarantines transfers, plans and runs replays, by the commands or by what is behind them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from msgspec.structs import replace

from tests.support.clients import read_all
from tests.support.events import CHANNELS
from tests.support.registry import PARTNERS
from tests.support.stream_gate import StreamGate
from transfer_gate.gate.inbox import Record
from transfer_gate.kafka.session import open_session
from transfer_gate.quarantine.search import Filter
from transfer_gate.records import ids
from transfer_gate.registry import load_registry
from transfer_gate.replay.plan import Plan
from transfer_gate.replay.plan_store import cancel, publish
from transfer_gate.replay.planning import make_plan
from transfer_gate.replay.progress import Status, status_of
from transfer_gate.replay.runner import Report, RunOptions, run_plan
from transfer_gate.settings import Settings


@dataclass
class Watching:
    """A screen without eyes: answers to the canary, keeps what it was shown."""

    answer: bool = True
    canaries: list[Report] = field(default_factory=list)
    settled: int = 0
    in_flight: int = 0

    def begin(self, records: int) -> None:
        pass

    def show(self, settled: int, in_flight: int) -> None:
        self.settled, self.in_flight = settled, in_flight

    async def go_on(self, report: Report) -> bool:
        self.canaries.append(report)
        return self.answer


class Operator:
    """Acts on a gate under a name."""

    def __init__(self, gate: StreamGate, name: str = "odile", **settings: Any) -> None:
        self.gate = gate
        place = gate.place
        self._given = {
            "bootstrap_servers": place.bootstrap_servers,
            "topic_prefix": gate.topics.prefix,
            "app_id": place.app_id,
            "registry": place.folder / "registry",
            "data_dir": place.folder / f"operator-{name}",
            "operator": name,
            **settings,
        }
        self.settings = Settings(_env_file=None, **self._given)  # type: ignore[call-arg]

    def called(self, name: str, **settings: Any) -> "Operator":
        """Another operator of the same gate, on another machine."""
        given = {key: value for key, value in self._given.items() if key not in ("operator", "data_dir")}
        return Operator(self.gate, name, **given | settings)

    async def held(self, prospects: Sequence[str], channels: Sequence[str] = CHANNELS) -> list[str]:
        """Send a transfer to one partner for each prospect, and wait until all are decided;
        returns their quarantine ids."""
        gate, waiting = self.gate, []
        for prospect in prospects:
            value = gate.events.transfer(prospect, f"t-{prospect}", channels=channels)
            waiting.append(await gate.producer.send(gate.topics.transfers, value, prospect.encode()))
        sent = await asyncio.gather(*waiting)
        await gate.settled()
        return [ids.quarantine_id(one.topic, one.partition, one.offset, PARTNERS[0]) for one in sent]

    async def consent(self, prospects: Sequence[str]) -> None:
        """Consents of prospects of `held`, in the same order."""
        await asyncio.gather(*(self.gate.consent(who) for who in prospects))

    async def plan(self, wanted: Iterable[str] = (), **given: Any) -> Plan:
        """Plan and publish; `wanted` are quarantine ids."""
        registry = load_registry(self.settings.registry)
        async with open_session(self.settings) as session:
            plan = await make_plan(session, registry, Filter(ids=frozenset(wanted), **given))
            await publish(session, plan)
        return plan

    async def run(self, plan: Plan, screen: Watching | None = None, **options: Any) -> Report:
        """Run a plan in this process."""
        asked = replace(RunOptions(breaker=1.0), **options)
        async with open_session(self.settings) as session:
            return await run_plan(session, plan.plan_id, asked, screen or Watching())

    async def status(self, plan_id: str) -> Status:
        """Status of a plan."""
        async with open_session(self.settings) as session:
            return await status_of(session, plan_id)

    async def cancel(self, plan_id: str, why: str) -> None:
        """Cancel a plan."""
        async with open_session(self.settings) as session:
            await cancel(session, plan_id, why)

    @property
    def environment(self) -> dict[str, str]:
        """For a process of this operator."""
        return dict(os.environ) | {f"TRANSFER_GATE_{key.upper()}": str(value) for key, value in self._given.items()}

    async def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`transfer-gate` with these arguments, without a terminal."""
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "transfer_gate", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, *arguments: str, output: bool = False) -> subprocess.Popen[bytes]:
        """The same as a process that goes on beside the test; `output`: with a pipe to read what it prints."""
        return subprocess.Popen(
            [sys.executable, "-m", "transfer_gate", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if output else subprocess.DEVNULL,
            stderr=None if output else subprocess.DEVNULL,
        )

    async def quarantine(self, wanted: Iterable[str]) -> list[Record]:
        """Records of these quarantine ids, all attempts, in order."""
        names = {one.encode() for one in wanted}
        place = self.gate.place
        read = read_all(place.bootstrap_servers, [self.gate.topics.quarantine], place.partitions)
        return [record async for record in read if dict(record.headers)["tg-quarantine-id"] in names]

    async def released(self, prospects: Iterable[str]) -> list[tuple[str, str]]:
        """(prospect, channel) of everything that the first partner got of these prospects."""
        who, place = set(prospects), self.gate.place
        topic = f"{self.gate.topics.prefix}partner.{PARTNERS[0]}"
        read = read_all(place.bootstrap_servers, [topic], place.partitions)
        bodies = [orjson.loads(record.value or b"") async for record in read]
        return [(body["prospect_id"], one) for body in bodies if body["prospect_id"] in who for one in body["channels"]]


def everything(prospects: Iterable[str], channels: Sequence[str] = CHANNELS) -> list[tuple[str, str]]:
    """What `released` gives when each went out exactly once, sorted."""
    return sorted((who, channel) for who in prospects for channel in channels)
