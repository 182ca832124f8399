"""A cluster whose partition leaders are killed: who leads what, and whether every copy is in step again."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tests.support.workers import PATIENCE
from transfer_gate.local.cluster import LocalCluster
from transfer_gate.local.kafka import LocalKafka

#: A killed broker stays away for up to this, seconds: shorter and longer than its session of 3 s.
_AWAY: Final = 6.0


class LeaderKiller:
    """Kills the broker that leads some partition of a topic, again and again, and starts it again."""

    def __init__(self, cluster: LocalCluster, topic: str, chance: random.Random) -> None:
        #: How often each broker was killed.
        self.kills: Counter[str] = Counter()
        self._cluster = cluster
        self._topic = topic
        self._chance = chance

    async def strike(self) -> None:
        """Kill one leader, let others take over, start it again, and wait until every copy is in step."""
        leaders = {partition["leader"] for partition in await self._partitions()}
        victim = self._broker(self._chance.choice(sorted(leaders)))
        await asyncio.to_thread(victim.kill)
        self.kills[victim.data_dir.name] += 1
        await asyncio.sleep(self._chance.uniform(0, _AWAY))
        await asyncio.to_thread(victim.start)
        await self.until_in_step()

    async def until_in_step(self) -> None:
        """Wait until all replicas of the topic are in sync: only then may the next leader die without a standstill."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = await self._partitions()
            if found and all(len(one["isr"]) == len(one["replicas"]) for one in found):
                return
            assert time.monotonic() < deadline, f"replicas are not in sync: {found}"
            await asyncio.sleep(0.2)

    def _broker(self, node: int) -> LocalKafka:
        return self._cluster.brokers[node - 1]

    async def _partitions(self) -> list[dict[str, Any]]:
        try:
            async with self._admin() as admin:
                (topic,) = await admin.describe_topics([self._topic])
        except KafkaError:
            return []
        partitions: list[dict[str, Any]] = topic["partitions"]
        return [partition for partition in partitions if partition["leader"] >= 0]

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._cluster.bootstrap_servers)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()
