"""Whether topics are still cleaned up by deletion. Compaction keeps the newest record of a prospect only: of a consent
behind a withdrawal, the withdrawal would go before anybody has applied it.

A worker does not start on such a topic (`kafka.topics`); here it notices while it runs. What compaction took away
meanwhile is noticed by the holes that it leaves: see `kafka.unpacking`.
"""

from collections.abc import Collection
from typing import Final

from transfer_gate.errors import GateError
from transfer_gate.kafka.cluster import open_cluster
from transfer_gate.settings import Settings

#: Between two looks at the settings of topics, seconds. A cleaner leaves the newest segment alone.
POLICY_SECONDS: Final = 60.0


class Compacted(GateError):
    """A topic whose every record counts is compacted."""


async def require_no_compaction(settings: Settings, topics: Collection[str]) -> None:
    """Hold that none of these topics is compacted. Raises Compacted; BrokerUnavailable without an answer."""
    async with open_cluster(settings) as cluster:
        configs = await cluster.configs(topics)
    found = {name: configs.get(name, {}).get("cleanup.policy", "") for name in sorted(topics)}
    listed = "; ".join(f"{name} has cleanup.policy {policy}" for name, policy in found.items() if "compact" in policy)
    if listed:
        raise Compacted(
            f"topics on which the gate can't keep its promises: {listed}, needed is delete. Compaction keeps only the "
            "newest record of a prospect, and a withdrawal may be none",
            do="set cleanup.policy of these topics to delete at once (kafka-configs --alter --add-config "
            "cleanup.policy=delete), then start again: records that were compacted away unread are noticed then",
        )
