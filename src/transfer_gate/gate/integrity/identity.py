"""Whether topics and registry are those of the last commit, at a take-over and for as long as a worker runs: ids
(KIP-516) and partition counts of the topics, as commits noted them, who leads them, and whether they are compacted.

A name is not an identity. A topic that was deleted and made anew has the same name, and offsets that begin again; a
topic with more partitions has other places for the same keys. A partition counts for itself how many topics stood under
a name before.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, Final

from transfer_gate.errors import GateError
from transfer_gate.gate.integrity.commit_note import read_note
from transfer_gate.gate.integrity.logs import LeaderEpochs, Place
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.kafka.cluster import Cluster
from transfer_gate.kafka.coordinator import PartitionStops, RoundFailed
from transfer_gate.kafka.requests import TopicIds
from transfer_gate.kafka.session import open_session
from transfer_gate.kafka.topic_watch import Identities, TopicWatch, identities_of
from transfer_gate.observe.logs import summary
from transfer_gate.records.commit_notes import LogIdentity
from transfer_gate.settings import Settings

logger = logging.getLogger(__name__)

#: Between two looks at the identity of the topics while nothing is decided, seconds; a decision looks by itself.
IDENTITY_SECONDS: Final = 2.0
#: Between two looks at the settings of topics, seconds. A cleaner leaves the newest segment alone.
POLICY_SECONDS: Final = 60.0


class PartitionsChanged(GateError):
    """Keys have other places than the ones under which the states were made."""


class RegistryOlder(PartitionStops):
    """This worker's registry is older than the one that decided here last."""


class Compacted(GateError):
    """A topic whose every record counts is compacted."""


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


class TopicGuard:
    """Compares the topics with those of the last take-over."""

    def __init__(self, settings: Settings, book: Rulebook, watch: TopicWatch, epochs: LeaderEpochs) -> None:
        self._settings = settings
        self._uncompacted = (book.consents, book.strays, book.transfers)
        self._watch = watch
        self._epochs = epochs
        self._expected: Identities | None = None

    def expect(self, identities: Identities | None) -> None:
        """Compare with these from now on; None while partitions are taken over."""
        self._expected = identities

    def refusal(self, metadata: Any) -> Exception | None:
        """Why metadata of the topics (the response to a TopicIds request) keep this worker from deciding; None when
        they are those of the take-over.
        """
        self._epochs.learn(metadata)
        return None if self._expected is None else change_between(self._expected, identities_of(metadata))

    async def changes(self) -> AsyncIterator[GateError | RoundFailed]:
        """What changes while nothing is decided, each change once: GateError where only a person can help, RoundFailed
        where the next take-over finds out.
        """
        looked = time.monotonic()
        while True:
            await asyncio.sleep(min(IDENTITY_SECONDS, POLICY_SECONDS))
            change: GateError | RoundFailed | None = await self._identity_change()
            if change is None and time.monotonic() - looked >= POLICY_SECONDS:
                looked = time.monotonic()
                change = await self._compaction()
            if change is not None:
                yield change

    async def _identity_change(self) -> GateError | RoundFailed | None:
        expected = self._expected
        if expected is None:
            return None
        try:
            change = change_between(expected, await self._watch.look())
        except RoundFailed as error:
            change = error
        except Exception as error:  # noqa: BLE001 - what only watches must not end
            logger.warning("the topics can't be looked at", extra={"error": summary(error)})
            return None
        if change is None or self._expected is not expected:
            return None
        self._expected = None  # once
        return change

    async def _compaction(self) -> Compacted | None:
        """That a topic is compacted whose every record counts."""
        try:
            await require_no_compaction(self._settings, self._uncompacted)
        except Compacted as error:
            return error
        except Exception as error:  # noqa: BLE001 - what only watches must not end
            logger.warning("the settings of the topics can't be looked at", extra={"error": summary(error)})
        return None


async def require_no_compaction(settings: Settings, topics: Collection[str]) -> None:
    """Hold that none of these topics is compacted. Raises Compacted; BrokerUnavailable without an answer."""
    async with open_session(settings) as session:
        configs = await session.cluster.configs(topics)
    found = {name: configs.get(name, {}).get("cleanup.policy", "") for name in sorted(topics)}
    listed = "; ".join(f"{name} has cleanup.policy {policy}" for name, policy in found.items() if "compact" in policy)
    if listed:
        raise Compacted(
            f"topics on which the gate can't keep its promises: {listed}, needed is delete. Compaction keeps only the "
            "newest record of a prospect, and a withdrawal may be none",
            do="set cleanup.policy of these topics to delete at once (kafka-configs --alter --add-config "
            "cleanup.policy=delete), then start again: records that were compacted away unread are noticed then",
        )


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
    noted: dict[Place, list[LogIdentity]] = {}
    for (_, number), offset in (await cluster.group_offsets(settings.app_id)).items():
        note = read_note(offset)
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
