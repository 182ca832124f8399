"""Which topics the gate works on: their ids (KIP-516) and partition counts, compared with what a commit noted.

A name is not an identity. A topic that was deleted and made anew has the same name, and offsets that begin again; a
topic with more partitions has other places for the same keys. A partition counts for itself how many topics stood under
a name before.
"""

import asyncio
import contextlib
import time
from collections.abc import Collection, Mapping
from typing import Any, Final

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient
from msgspec import Struct

from transfer_gate.errors import GateError
from transfer_gate.gate.integrity.commit_note import read_note
from transfer_gate.kafka.cluster import Cluster
from transfer_gate.kafka.coordinator import PartitionStops, RoundFailed
from transfer_gate.kafka.requests import OffsetForLeaderEpoch, TopicIds, topic_ids_of
from transfer_gate.kafka.transaction import Committed
from transfer_gate.kafka.types import TopicPartition
from transfer_gate.records.commit_notes import Life
from transfer_gate.settings import Settings

#: Between two requests while the cluster gives no usable answer, seconds; and how long to go on.
_WAIT_SECONDS: Final = 0.2
_TIMEOUT_SECONDS: Final = 30.0
#: How long a leader may not know an epoch: one that was just elected, or just deposed, seconds.
_EPOCH_SECONDS: Final = 5.0


class TopicIdentity(Struct, frozen=True):
    """What stands behind a topic's name now."""

    topic_id: str
    partitions: int


Identities = Mapping[str, TopicIdentity]
"""By topic name."""


class PartitionsChanged(GateError):
    """Keys have other places than the ones under which the states were made."""


class RegistryOlder(PartitionStops):
    """This worker's registry is older than the one that decided here last."""


def identities_of(response: Any) -> dict[str, TopicIdentity]:
    """Read the response to a TopicIds request."""
    return {topic: TopicIdentity(*found) for topic, found in topic_ids_of(response).items()}


def partitions_changed(noted: int, found: int) -> PartitionsChanged:
    """The refusal to decide under another partition count."""
    do = (
        f"stop producers and all workers, and run: transfer-gate topics grow --partitions {found} "
        "(docs/how-to/grow.md): it brings the states to their new places"
    )
    if found < noted:
        do = (
            "topics can't lose partitions: these were made anew. Stop all workers and set up a new installation "
            "(another TRANSFER_GATE_TOPIC_PREFIX and TRANSFER_GATE_APP_ID), and publish the whole consent history to "
            "it before the first transfer"
        )
    return PartitionsChanged(
        f"the states of the consent table were made under {noted} partitions, and the topics have {found} now: "
        "keys have moved to other partitions, so the withdrawals of those prospects would not be seen. Nothing is "
        "decided",
        do=do,
    )


def require_order(where: str, own: str, other: str) -> None:
    """Hold that a registry is not older than one that has decided in the group. Raises RegistryOlder.

    `own`, `other`: `published_at/revision`, empty for a registry without; `where`: who is refused.
    """
    if not own or not other or own == other:
        return
    (published, _, revision), (noted_at, _, noted) = own.partition("/"), other.partition("/")
    if published > noted_at:
        return
    older = "older than" if published < noted_at else "published at the same time as"
    raise RegistryOlder(
        f"{where}: the registry in use (revision {revision}, published_at {published}) is "
        f"{older} the one that decided here last (revision {noted}, published_at {noted_at}; in this partition or "
        "another): a partner that was "
        "suspended since could be served again",
        do="give this worker the newer registry; raise published_at in policy.yaml with every change; for a "
        "deliberate rollback start it with --allow-older-registry",
    )


def change_between(known: Identities, found: Identities) -> GateError | RoundFailed | None:
    """Why nothing may be decided any more: PartitionsChanged for another count, which only a person can settle;
    RoundFailed for a topic that was made anew, which the next take-over settles; None when all is as it was.
    """
    for topic, before in known.items():
        now = found.get(topic)
        if now is None:
            return RoundFailed(f"topic {topic} is not there")
        if now.partitions != before.partitions:
            return partitions_changed(before.partitions, now.partitions)
        if now.topic_id != before.topic_id:
            return RoundFailed(f"topic {topic} was deleted and made anew")
    return None


class TopicWatch:
    """Asks which topics stand behind their names, on a connection of its own."""

    def __init__(self, options: Mapping[str, Any], topics: tuple[str, ...]) -> None:
        self._client = AIOKafkaClient(**{**options, "client_id": f"{options['client_id']}-identity"})
        self._topics = topics

    async def start(self) -> None:
        """Connect. Raises aiokafka's connection errors when no broker answers."""
        await self._client.bootstrap()
        await self._client.set_topics(self._topics)

    async def close(self) -> None:
        """Disconnect."""
        await self._client.close()

    async def look(self) -> Identities:
        """Identities of all topics. Raises RoundFailed when the cluster does not give them in time."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while True:
            try:
                response = await self._client.send(self._client.get_random_node(), TopicIds(self._topics))
                found = identities_of(response)
            except (kafka.KafkaError, AssertionError):  # without a node aiokafka asserts
                found = {}
            if len(found) == len(self._topics):
                return found
            missing = sorted(set(self._topics) - set(found))
            if time.monotonic() > deadline:
                raise RoundFailed(f"the cluster does not know these topics: {', '.join(missing)}")
            self._client.force_metadata_update()
            await asyncio.sleep(_WAIT_SECONDS)

    async def others(self, prefix: str, known: Collection[str]) -> tuple[str, ...]:
        """Topics that begin with `prefix` and are none of those that are `known`; only those that we may see.

        Raises RoundFailed when the cluster does not answer.
        """
        try:
            found = await self._client.fetch_all_metadata()
        except kafka.KafkaError as error:
            raise RoundFailed(f"the cluster does not list its topics: {type(error).__name__}") from None
        return tuple(sorted(topic for topic in found.topics() if topic.startswith(prefix) and topic not in known))

    async def epoch_ends(self, asked: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        """By topic and partition: the offset after the last record of the leader epoch that is asked for, or of an
        earlier one; -1 where the leader knows no epoch so late. Raises RoundFailed when there is no answer in time.
        """
        began = time.monotonic()
        found: dict[tuple[str, int], int] = {}
        while True:
            by_leader: dict[int, dict[str, dict[int, int]]] = {}
            for (topic, number), epoch in asked.items():
                leader = self._client.cluster.leader_for_partition(TopicPartition(topic, number))
                if (topic, number) not in found and leader is not None and leader != -1:
                    by_leader.setdefault(leader, {}).setdefault(topic, {})[number] = epoch
            for leader, epochs in by_leader.items():
                with contextlib.suppress(kafka.KafkaError):
                    response = await self._client.send(leader, OffsetForLeaderEpoch(epochs))
                    found |= {
                        (topic, number): end
                        for topic, partitions in response.topics
                        for code, number, _, end in partitions
                        if code == 0 and (end >= 0 or time.monotonic() - began > _EPOCH_SECONDS)
                    }
            if len(found) == len(asked):
                return found
            if time.monotonic() - began > _TIMEOUT_SECONDS:
                raise RoundFailed("the cluster does not answer where the epochs of leaders end")
            self._client.force_metadata_update()
            await asyncio.sleep(_WAIT_SECONDS)


Place = tuple[str, int]
"""Topic and partition."""


class TopicLives:
    """The ids of the input topics that were made anew under their names, by topic and partition."""

    def __init__(self, later: Mapping[Place, str]) -> None:
        self._later = dict(later)

    def own(self, topic: str, partition: int) -> str | None:
        """The id in the names of records of the topic that is there now; None where it is the first of its name."""
        return self._later.get((topic, partition))


FIRST_LIVES: Final = TopicLives({})


async def lives_of(cluster: Cluster, settings: Settings) -> TopicLives:
    """Ask topics and group. Raises AccessDenied without the right to describe the group."""
    topics = settings.topics.inputs()
    found = identities_of(await cluster.send(TopicIds(topics)))
    noted: dict[Place, list[Life]] = {}
    for (_, number), offset in (await cluster.group_offsets(settings.app_id)).items():
        note = read_note(Committed(offset.offset, offset.note))
        for topic, life in note.topics.items() if note is not None else ():
            noted.setdefault((topic, number), []).append(life)
    later = {}
    for (topic, number), lives in noted.items():
        now = found.get(topic)
        if now is None:
            continue
        # A topic that no commit knows yet follows those that commits know.
        numbers = [life.number for life in lives if life.topic_id == now.topic_id]
        if not numbers or max(numbers):
            later[topic, number] = now.topic_id
    return TopicLives(later)
