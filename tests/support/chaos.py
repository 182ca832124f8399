"""What can happen to workers and their broker, each fault up to the point where all partitions are decided again."""

import asyncio
import random
import time
from typing import Final, Literal, get_args

from tests.support.workers import PATIENCE, Installation, Launcher, Worker
from transfer_gate.local.kafka import LocalKafka

Fault = Literal["kill", "zombie", "join", "leave", "broker crash", "broker crash in a rebalance"]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)

#: A fault strikes within this time after load begins to flow, seconds.
_WITHIN: Final = 0.6
_ASSIGNED: Final = "transfer_gate_assigned_partitions"


class Chaos:
    """Does to the workers of one installation what fate would do; keeps two or three of them running."""

    def __init__(
        self, place: Installation, broker: LocalKafka, chance: random.Random, launcher: Launcher | None = None
    ) -> None:
        #: For each fault that struck, how long it took until all partitions were decided again, seconds.
        self.recoveries: dict[Fault, list[float]] = {}
        self._place = place
        self._broker = broker
        self._chance = chance
        self._launcher = launcher

    async def begin(self) -> None:
        """Start two workers and wait until they decide."""
        for _ in range(2):
            self._start()
        await self._until_all_decide()

    async def strike(self, fault: Fault) -> None:
        """Let it happen at some moment now, and wait until every partition is decided again."""
        await asyncio.sleep(self._chance.uniform(0, _WITHIN))
        victim = self._chance.choice(self._place.running)
        match fault:
            case "kill":
                await asyncio.to_thread(victim.kill)
                self._start()
            case "zombie":
                await self._freeze_until_replaced(victim)
            case "join":
                self._start()
            case "leave":
                code, _ = await victim.terminate()
                assert code == 0, f"exit code {code} after SIGTERM:\n{victim.tail()}"
            case "broker crash":
                await self._crash_broker()
            case "broker crash in a rebalance":
                await asyncio.to_thread(victim.kill)
                (other, *_) = self._place.running
                await other.until(lambda: not other.ready, "taking over what another one decided")
                await self._crash_broker()
        began = time.monotonic()
        while len(self._place.running) < 2:
            self._start()
        await self._until_all_decide()
        self.recoveries.setdefault(fault, []).append(round(time.monotonic() - began, 1))

    async def _crash_broker(self) -> None:
        await asyncio.to_thread(self._broker.kill)
        await asyncio.to_thread(self._broker.start)

    async def _freeze_until_replaced(self, victim: Worker) -> None:
        """A zombie: it lost its partitions to the others and, back alive, doesn't know."""
        others = [worker for worker in self._place.running if worker is not victim]
        victim.freeze()
        try:
            await others[0].until(lambda: self._assigned(others) == self._place.partitions, "given all partitions")
        finally:
            victim.thaw()

    async def _until_all_decide(self) -> None:
        """Wait until all partitions are given out and every worker is ready."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not await asyncio.to_thread(self._all_decide):
            self._place.assert_none_gave_up()
            late = asyncio.get_running_loop().time() > deadline
            assert not late, f"not all partitions are decided:\n{self._place.tails()}"
            await asyncio.sleep(0.1)

    def _all_decide(self) -> bool:
        running = self._place.running
        return self._assigned(running) == self._place.partitions and all(worker.ready for worker in running)

    @staticmethod
    def _assigned(workers: list[Worker]) -> int:
        return int(sum(worker.metric(_ASSIGNED) for worker in workers))

    def _start(self) -> None:
        self._place.start_worker(self._launcher)
