"""What a cluster says of itself: topics, their settings, versions, the controller's clock."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NotControllerError, TopicAlreadyExistsError, for_code
from aiokafka.protocol.admin import CreatePartitionsRequest
from msgspec import Struct

from transfer_gate.errors import BrokerUnavailable
from transfer_gate.kafka import groups
from transfer_gate.kafka.admin_requests import (
    ApiVersions,
    CreateTopics,
    DescribeQuorum,
    TopicRights,
    controller_clock_ms,
    finalized_features,
    operations_of,
)
from transfer_gate.kafka.clients import broker_errors, client_options, keep_cancellation
from transfer_gate.records.placements import Placements, earlier_of
from transfer_gate.settings import Settings

#: How long one request may take, and how long new topics may take to get their leaders.
REQUEST_SECONDS: Final = 15.0
CREATE_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1


class FoundTopic(Struct, frozen=True, kw_only=True):
    """A topic as it is. `leaderless`: partitions that have no leader now."""

    name: str
    partitions: int
    replication: int
    leaderless: int


class NewTopic(Struct, frozen=True, kw_only=True):
    """A topic to create; None leaves a count to the broker."""

    name: str
    partitions: int | None
    replication: int | None
    configs: Mapping[str, str]


class ClockReading(Struct, frozen=True, kw_only=True):
    """Controller clock minus ours, and how far off that can be (half the round trip), both seconds."""

    offset: float
    uncertainty: float


class Cluster:
    """An open admin connection; see `open_cluster`."""

    def __init__(self, admin: AIOKafkaAdminClient) -> None:
        self._admin = admin

    async def topics(self) -> dict[str, FoundTopic]:
        """Every topic that this client may see. Asks for all, because asking for one by name could create it."""
        found = {}
        for topic in await self._admin.describe_topics(None):
            partitions = topic["partitions"]
            if topic["error_code"] or not partitions:
                continue
            found[topic["topic"]] = FoundTopic(
                name=topic["topic"],
                partitions=len(partitions),
                replication=min(len(partition["replicas"]) for partition in partitions),
                leaderless=sum(partition["leader"] < 0 for partition in partitions),
            )
        return found

    async def ask(self, request: Any) -> Any:
        """The response of any broker to a request."""
        return await self._admin._send_request(request)

    async def rights(self, topics: Iterable[str]) -> dict[str, frozenset[str]]:
        """What we may do with each topic, by the names of Kafka's ACLs; nothing for one that we may not even see.

        Topics that don't exist are left out.
        """
        return operations_of(await self._admin._send_request(TopicRights(list(topics))))

    async def brokers(self) -> list[int]:
        """Ids of the brokers that are alive."""
        return [broker["node_id"] for broker in (await self._admin.describe_cluster())["brokers"]]

    async def broker_configs(self, broker: int) -> dict[str, str]:
        """Settings in force of one broker; empty when we may not see them."""
        resource = ConfigResource(ConfigResourceType.BROKER, str(broker))
        return {
            entry[0]: entry[1]
            for response in await self._admin.describe_configs([resource])
            for error, _, _, _, entries in response.resources
            if not error
            for entry in entries
        }

    async def configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Settings in force of `topics`, defaults included; a topic whose settings we may not see is left out."""
        wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
        if not wanted:
            return {}
        seen = {}
        for response in await self._admin.describe_configs(wanted):
            for error, _, _, name, entries in response.resources:
                if not error:
                    seen[name] = {entry[0]: entry[1] for entry in entries}
        return seen

    async def create(self, topics: Iterable[NewTopic]) -> dict[str, str]:
        """Create topics and wait until each has its leaders; a topic that exists by now is fine.

        Returns the refusals of the broker: topic to reason. Raises BrokerUnavailable when leaders don't turn up.
        """
        wanted = [
            (new.name, new.partitions or -1, new.replication or -1, {str(k): v for k, v in new.configs.items()})
            for new in topics
        ]
        if not wanted:
            return {}
        deadline = time.monotonic() + CREATE_SECONDS
        response = await self._to_controller(CreateTopics(wanted, int(REQUEST_SECONDS * 1000)), deadline)
        refused = {}
        for name, code, message in response.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                refused[name] = f"{for_code(code).__name__}: {message}" if message else for_code(code).__name__
        waiting = {name for name, *_ in wanted} - set(refused)
        while True:
            found = await self.topics()
            waiting = {name for name in waiting if name not in found or found[name].leaderless}
            if not waiting:
                return refused
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"created, but without leaders after {CREATE_SECONDS:.0f} s: {', '.join(sorted(waiting))}",
                    do="look at the brokers' logs, then run the command again: it changes nothing that exists",
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def delete(self, topics: Iterable[str]) -> None:
        """Delete topics with everything in them; unknown ones are passed over."""
        names = list(topics)
        if names:
            await self._admin.delete_topics(names, timeout_ms=int(REQUEST_SECONDS * 1000))

    async def features(self) -> dict[str, int]:
        """Finalized features of the cluster, such as `metadata.version` (KIP-584)."""
        return finalized_features(await self._admin._send_request(ApiVersions()))

    async def clock(self) -> ClockReading | None:
        """The active controller's clock against ours; None when the cluster won't say (no right, or older than 3.3)."""
        try:
            before, started = time.time(), time.monotonic()
            response = await self._admin._send_request(DescribeQuorum())
            took = time.monotonic() - started
        except (NotImplementedError, RuntimeError):  # aiokafka: no common version; unknown request
            return None
        stamp = controller_clock_ms(response)
        if stamp is None:
            return None
        return ClockReading(offset=stamp / 1000 - (before + took / 2), uncertainty=took / 2 + 0.001)

    async def group_members(self, group: str) -> int:
        """How many members the consumer group has now."""
        return await groups.members(self._admin._send_request, group)

    async def settled_members(self, group: str) -> list[groups.Member]:
        """The members of the consumer group and their user data. Raises RebalanceInProgressError when it goes on
        rebalancing.
        """
        return await groups.settled_members(self._admin._send_request, group)

    async def group_subscriptions(self, group: str, needs: str = "Describe") -> list[frozenset[str]]:
        """The topics that each member of the consumer group reads now. Raises AccessDenied, of the right `needs`."""
        return await groups.subscriptions(self._admin._send_request, group, needs)

    async def committed(self, group: str) -> dict[tuple[str, int], int]:
        """Offsets that the group has committed, by (topic, partition)."""
        return {place: found.offset for place, found in (await self.group_offsets(group)).items()}

    async def group_offsets(self, group: str) -> dict[tuple[str, int], groups.GroupOffset]:
        """What the group has committed, with the note beside each offset, by (topic, partition)."""
        return await groups.committed(self._admin._send_request, group)

    async def placements(self, settings: Settings, partitions: int | None) -> Placements:
        """Where keys belong under `partitions`, and where records of the inputs were placed before the topics grew."""
        if partitions is None:
            return Placements(settings.partitioner, None)
        topics = settings.topics
        committed = await self.group_offsets(settings.app_id)
        earlier = earlier_of(committed, partitions, (topics.transfers, topics.consents))
        return Placements(settings.partitioner, partitions, earlier)

    async def create_partitions(self, counts: Mapping[str, int]) -> None:
        """Give each topic so many partitions, and wait until all have leaders. Raises BrokerUnavailable when they don't
        turn up, AccessDenied.
        """
        if not counts:
            return
        deadline = time.monotonic() + CREATE_SECONDS
        asked = [(name, (count, None)) for name, count in counts.items()]
        request = CreatePartitionsRequest(asked, int(REQUEST_SECONDS * 1000), False)
        response = await self._to_controller(request, deadline)
        for _, code, message in response.topic_errors:
            if code:
                raise for_code(code)(message)
        while True:
            found = await self.topics()
            waiting = [
                name for name, count in counts.items() if found[name].partitions < count or found[name].leaderless
            ]
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"new partitions have no leaders after {CREATE_SECONDS:.0f} s: {', '.join(sorted(waiting))}",
                    do="look at the brokers' logs, then run the command again: it goes on where it stopped",
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _to_controller(self, request: CreateTopics | CreatePartitionsRequest, deadline: float) -> Any:
        while True:
            response = await self._admin._send_to_controller(request)
            moved = any(code == NotControllerError.errno for _, code, _ in response.topic_errors)
            if not moved or time.monotonic() > deadline:
                return response
            await asyncio.sleep(_POLL_SECONDS)
            await self._admin._client.force_metadata_update()


@asynccontextmanager
async def open_cluster(settings: Settings) -> AsyncIterator[Cluster]:
    """Connect to the cluster of `settings`.

    Raises BrokerUnavailable when it can't be reached, here or later inside the block.
    """
    async with broker_errors(settings):
        admin = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=int(REQUEST_SECONDS * 1000))
        try:
            await admin.start()
            yield Cluster(admin)
        finally:
            async with keep_cancellation():
                await admin.close()
