"""What a cluster reports of itself: topics, their settings, versions, the controller's clock."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NotControllerError, RebalanceInProgressError, TopicAlreadyExistsError, for_code
from aiokafka.protocol.admin import CreatePartitionsRequest
from aiokafka.protocol.api import Request
from msgspec import Struct

from transfer_gate.errors import BrokerUnavailable, InvalidInput
from transfer_gate.kafka import coordinator
from transfer_gate.kafka.access import NotOffered, broker_errors
from transfer_gate.kafka.clients import keep_cancellation
from transfer_gate.kafka.coordinator import Committed, Member
from transfer_gate.kafka.requests import (
    ApiVersions,
    CreateTopics,
    DescribeQuorum,
    DescribeTransaction,
    Hidden,
    TopicRights,
    controller_clock_ms,
    finalized_features,
    not_described,
    operations_of,
)
from transfer_gate.records.partitioner import Placements, earlier_of
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
    """Controller clock minus that of this process, and how far off that can be (half the round trip), both seconds."""

    offset: float
    uncertainty: float


class Cluster:
    """The admin connection of a session, made when it is first used.

    Everything here raises BrokerUnavailable when the cluster can't be reached, AccessDenied when it refuses.
    """

    def __init__(self, settings: Settings, options: Mapping[str, Any]) -> None:
        self._settings = settings
        self._options = options
        self._client: AIOKafkaAdminClient | None = None
        self._connecting = asyncio.Lock()

    async def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            async with keep_cancellation():
                await client.close()

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        async with broker_errors(self._options):
            async with self._connecting:
                if self._client is None:
                    client = AIOKafkaAdminClient(**self._options, request_timeout_ms=int(REQUEST_SECONDS * 1000))
                    try:
                        await client.start()
                    except BaseException:
                        await client.close()
                        raise
                    self._client = client
            yield self._client

    async def topics(self) -> dict[str, FoundTopic]:
        """Every topic that this client may see. Requests all, because a request for one by name could create it."""
        found = {}
        async with self._admin() as admin:
            described = await admin.describe_topics(None)
        for topic in described:
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

    async def partitions(self, *topics: str) -> dict[str, int]:
        """Partition count of each of `topics`. Raises InvalidInput naming those that are missing: a reader of a topic
        that does not exist would wait.
        """
        found = await self.topics()
        if missing := [name for name in topics if name not in found]:
            raise InvalidInput(
                f"missing topics, or no right to see them: {', '.join(missing)}",
                do="run: transfer-gate topics apply; rights: docs/reference/access.md",
            )
        return {name: found[name].partitions for name in topics}

    async def send(self, request: Request[Any], broker: int | None = None) -> Any:
        """The response of a broker, None any, to a request."""
        async with self._admin() as admin:
            return await admin._send_request(request, broker)

    async def rights(self, topics: Iterable[str]) -> dict[str, frozenset[str]]:
        """What we may do with each topic, by the names of Kafka's ACLs; nothing for one that we may not even see.

        Topics that don't exist are left out.
        """
        return operations_of(await self.send(TopicRights(list(topics))))

    async def brokers(self) -> list[int]:
        """Ids of the brokers that are alive."""
        async with self._admin() as admin:
            return [broker["node_id"] for broker in (await admin.describe_cluster())["brokers"]]

    async def broker_configs(self, broker: int) -> dict[str, str]:
        """Settings in force of one broker, as far as the cluster shows them; empty when we may not see them."""
        try:
            return (await self._configs(ConfigResourceType.BROKER, [str(broker)])).get(str(broker), {})
        except NotOffered:
            return {}

    async def configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Settings in force of `topics`, defaults included; a topic whose settings we may not see is left out."""
        return await self._configs(ConfigResourceType.TOPIC, topics)

    async def _configs(self, kind: ConfigResourceType, names: Iterable[str]) -> dict[str, dict[str, str]]:
        wanted = [ConfigResource(kind, name) for name in names]
        if not wanted:
            return {}
        async with self._admin() as admin:
            responses = await admin.describe_configs(wanted)
        return {
            name: {entry[0]: entry[1] for entry in entries if entry[1] is not None}
            for response in responses
            for error, _, _, name, entries in response.resources
            if not error
        }

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
        await self._until_led(
            lambda found: {name for name in waiting if name not in found or found[name].leaderless},
            deadline,
            f"created, but without leaders after {CREATE_SECONDS:.0f} s",
            "it changes nothing that exists",
        )
        return refused

    async def delete(self, topics: Iterable[str]) -> None:
        """Delete topics with everything in them; unknown ones are passed over."""
        names = list(topics)
        if names:
            async with self._admin() as admin:
                await admin.delete_topics(names, timeout_ms=int(REQUEST_SECONDS * 1000))

    async def features(self) -> dict[str, int]:
        """Finalized features of the cluster, such as `metadata.version` (KIP-584)."""
        try:
            return finalized_features(await self.send(ApiVersions()))
        except NotOffered:
            return {}

    async def hides_transactions(self, transactional_id: str) -> Hidden:
        """Why the cluster does not show how a transaction ended (KIP-664); empty where it does.

        Any broker is asked: one that is not the coordinator looks at the rights first.
        """
        try:
            return not_described(await self.send(DescribeTransaction(transactional_id)))
        except NotOffered:
            return "unsupported"

    async def clock(self) -> ClockReading | None:
        """The active controller's clock against that of this process; None without the right, or before Kafka 3.3."""
        try:
            before, started = time.time(), time.monotonic()
            response = await self.send(DescribeQuorum())
            took = time.monotonic() - started
        except NotOffered:
            return None
        stamp = controller_clock_ms(response)
        if stamp is None:
            return None
        return ClockReading(offset=stamp / 1000 - (before + took / 2), uncertainty=took / 2 + 0.001)

    async def group_members(self, group: str) -> int:
        """How many members the consumer group has now."""
        return len(await self.group_subscriptions(group))

    async def settled_members(self, group: str) -> list[Member] | None:
        """The members of the consumer group and their user data; None when it goes on rebalancing."""
        async with self._admin() as admin:
            try:
                return await coordinator.settled_members(admin._send_request, group)
            except RebalanceInProgressError:
                return None

    async def group_subscriptions(self, group: str, needs: str = "Describe") -> list[frozenset[str]]:
        """The topics that each member of the consumer group reads now. Raises AccessDenied, of the right `needs`."""
        async with self._admin() as admin:
            return await coordinator.subscriptions(admin._send_request, group, needs)

    async def committed(self, group: str) -> dict[tuple[str, int], int]:
        """Offsets that the group has committed, by (topic, partition)."""
        return {place: found.offset for place, found in (await self.group_offsets(group)).items()}

    async def group_offsets(self, group: str) -> dict[tuple[str, int], Committed]:
        """What the group has committed, with the note beside each offset, by (topic, partition)."""
        async with self._admin() as admin:
            return await coordinator.committed(admin._send_request, group)

    async def await_commits(self, group: str, topic: str, reached: Mapping[int, int], timeout: float) -> bool:
        """Whether the group has committed every record of a topic below `reached` (by partition), after up to `timeout`
        seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            committed = await self.committed(group)
            if all(committed.get((topic, partition), 0) >= offset for partition, offset in reached.items()):
                return True
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)

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
        wanted = [(name, (count, None)) for name, count in counts.items()]
        request = CreatePartitionsRequest(wanted, int(REQUEST_SECONDS * 1000), False)
        response = await self._to_controller(request, deadline)
        async with broker_errors(self._options):
            for _, code, message in response.topic_errors:
                if code:
                    raise for_code(code)(message)
        await self._until_led(
            lambda found: {
                name for name, count in counts.items() if found[name].partitions < count or found[name].leaderless
            },
            deadline,
            f"new partitions have no leaders after {CREATE_SECONDS:.0f} s",
            "it goes on where it stopped",
        )

    async def _until_led(
        self, waiting: Callable[[Mapping[str, FoundTopic]], Collection[str]], deadline: float, late: str, again: str
    ) -> None:
        while left := waiting(await self.topics()):
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"{late}: {', '.join(sorted(left))}",
                    do=f"look at the brokers' logs, then run the command again: {again}",
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _to_controller(self, request: CreateTopics | CreatePartitionsRequest, deadline: float) -> Any:
        while True:
            async with self._admin() as admin:
                response = await admin._send_to_controller(request)
                moved = any(code == NotControllerError.errno for _, code, _ in response.topic_errors)
                if not moved or time.monotonic() > deadline:
                    return response
                await asyncio.sleep(_POLL_SECONDS)
                await admin._client.force_metadata_update()
