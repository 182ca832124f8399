"""Compare the topics that exist with the catalogue; create what is missing, change nothing that exists."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from msgspec import Struct

from transfer_gate.errors import InvalidInput
from transfer_gate.kafka.access import AccessDenied
from transfer_gate.kafka.catalogue import DEFAULT_MAX_MESSAGE, REASONS, RIGHTS, TopicSpec, catalogue
from transfer_gate.kafka.cluster import Cluster, FoundTopic, NewTopic
from transfer_gate.kafka.session import Session, open_session
from transfer_gate.model.registry import Registry
from transfer_gate.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

PARTITIONS: Final = "partitions"
REPLICATION: Final = "replication"
#: Settings where more than asked for does no harm; -1 is without limit.
_AT_LEAST: Final = frozenset({"max.message.bytes", "retention.ms", "retention.bytes", "min.insync.replicas"})


class Difference(Struct, frozen=True, kw_only=True):
    """Where an existing topic is not as the catalogue has it. `refused`: a worker does not start on it."""

    topic: str
    setting: str
    wanted: str
    found: str
    refused: bool
    why: str


class TopicReport(Struct, frozen=True, kw_only=True):
    """One topic after `apply`; counts are None where they are not known (not created)."""

    topic: str
    action: Literal["exists", "created", "missing", "failed"]
    partitions: int | None
    replication: int | None
    differences: tuple[Difference, ...] = ()
    error: str = ""


class Survey(Struct, frozen=True, kw_only=True):
    """The catalogue of an installation against its cluster.

    `partitions`: the count that topics with prospects share; None when none of them exists.
    """

    specs: tuple[TopicSpec, ...]
    found: Mapping[str, FoundTopic]
    configs: Mapping[str, Mapping[str, str]]
    partitions: int | None

    def missing(self) -> tuple[TopicSpec, ...]:
        """Topics that don't exist."""
        return tuple(spec for spec in self.specs if spec.name not in self.found)

    def hidden(self) -> tuple[str, ...]:
        """Topics that exist, but whose settings we may not see."""
        return tuple(name for name in self.found if name not in self.configs)

    def differences(self, replication: int | None = None) -> tuple[Difference, ...]:
        """Everything in which existing topics are not as the catalogue has them, in its order."""
        return tuple(
            difference
            for spec in self.specs
            if spec.name in self.found
            for difference in _compare(
                spec, self.found[spec.name], self.configs.get(spec.name, {}), self.partitions, replication
            )
        )


async def survey(cluster: Cluster, settings: Settings, registry: Registry) -> Survey:
    """Look at every topic of the installation."""
    topics = settings.topics
    found = await cluster.topics()
    own = dict.fromkeys((*topics.of_prospects(registry), topics.ledger, topics.audit, *topics.of_parties(registry)))
    configs = await cluster.configs(name for name in own if name in found)
    inputs = [
        configs[name].get("max.message.bytes", "0") for name in (topics.transfers, topics.consents) if name in configs
    ]
    specs = catalogue(
        topics,
        registry,
        partitions=settings.partitions,
        replication=settings.replication,
        largest_input=max(DEFAULT_MAX_MESSAGE, *map(int, inputs)) if inputs else DEFAULT_MAX_MESSAGE,
    )
    return Survey(
        specs=specs,
        found={spec.name: found[spec.name] for spec in specs if spec.name in found},
        configs=configs,
        partitions=_shared_count(specs, found),
    )


async def apply_topics(settings: Settings, registry: Registry, *, dry_run: bool = False) -> tuple[TopicReport, ...]:
    """Create the topics that are missing and report on all.

    Topics that exist decide the partition count of those that are new; else `TRANSFER_GATE_PARTITIONS`, else the
    broker. Raises BrokerUnavailable.
    """
    async with open_session(settings) as session:
        cluster = session.cluster
        before = await survey(cluster, settings, registry)
        missing = before.missing()
        refused: Mapping[str, str] = {}
        if not dry_run:
            refused = await cluster.create(_new(spec, before.partitions, settings.replication) for spec in missing)
        after = before if dry_run else await survey(cluster, settings, registry)
    differences = after.differences(settings.replication)
    new = {spec.name for spec in missing}
    return tuple(
        _report(spec, after.found.get(spec.name), spec.name in new, refused.get(spec.name), differences)
        for spec in after.specs
    )


def require_transaction_timeout(settings: Settings, limits: Mapping[str, str]) -> None:
    """Hold that the broker takes the timeout of our transactions; `limits`: its settings, empty where they are hidden.

    Raises InvalidInput with both values: each worker would be refused by the broker when it takes a partition over.
    """
    longest_ms = limits.get("transaction.max.timeout.ms")
    if longest_ms is not None and settings.transaction_timeout_seconds * 1000 > float(longest_ms):
        raise InvalidInput(
            f"the broker takes transactions of at most {float(longest_ms) / 1000:g} s (transaction.max.timeout.ms), "
            f"{PREFIX}TRANSACTION_TIMEOUT_SECONDS is {settings.transaction_timeout_seconds:g}",
            do=f"lower {PREFIX}TRANSACTION_TIMEOUT_SECONDS, or raise transaction.max.timeout.ms of every broker",
        )


async def check_topics(session: Session, registry: Registry) -> int:
    """Hold that a worker can start on the topics that exist; returns the partition count that they share.

    Differences from the catalogue that the gate can live with are logged as warnings.

    Raises InvalidInput naming every topic that is missing, has another partition count, or would lose records by its
    clean-up policy; AccessDenied naming every right on them that a worker lacks; BrokerUnavailable.
    """
    settings, cluster = session.settings, session.cluster
    seen = await survey(cluster, settings, registry)
    rights = await cluster.rights(spec.name for spec in seen.specs)
    limits = await cluster.broker_configs((await cluster.brokers())[0])
    _require_rights(seen.specs, rights)
    if unseen := tuple(_unseen(seen, rights, limits)):
        logger.info("the cluster does not show everything; not compared: %s", "; ".join(unseen))
    require_transaction_timeout(settings, limits)
    missing = [spec.name for spec in seen.missing() if spec.shares_count]
    if missing:
        raise InvalidInput(f"missing topics: {', '.join(missing)}", do="run: transfer-gate topics apply")
    differences = seen.differences()
    refused = [difference for difference in differences if difference.refused]
    if refused:
        listed = "; ".join(
            f"{difference.topic} has {difference.setting} {difference.found}, needed is {difference.wanted}"
            for difference in refused
        )
        raise InvalidInput(
            f"topics on which the gate can't keep its promises: {listed}",
            do="equal keys must meet in equal partitions (transfer-gate topics grow), and nothing undecided may be "
            f"cleaned away (set cleanup.policy); or choose another {PREFIX}TOPIC_PREFIX",
        )
    for difference in differences:
        logger.warning(
            "topic %s: %s is %s, should be %s: %s",
            difference.topic,
            difference.setting,
            difference.found,
            difference.wanted,
            difference.why,
        )
    return seen.found[settings.topics.transfers].partitions


def _require_rights(specs: Iterable[TopicSpec], given: Mapping[str, frozenset[str]]) -> None:
    """Raise AccessDenied that names every right which a worker lacks; `given` as `Cluster.rights` returns it.

    Asked before the first record: a right that only a restore or a rare record needs is missed in the worst hour.
    """
    missing = [
        f"{', '.join(sorted(lacking))} on topic {spec.name}"
        for spec in specs
        if spec.name in given and (lacking := RIGHTS.get(spec.role, frozenset()) - given[spec.name])
    ]
    if missing:
        raise AccessDenied(
            f"the broker refuses access: the gate's principal lacks {'; '.join(missing)}",
            do="grant it the rights listed in docs/reference/access.md",
        )


def _unseen(seen: Survey, rights: Mapping[str, frozenset[str]], limits: Mapping[str, str]) -> Iterable[str]:
    """What a worker does without, where the cluster does not show it: managed ones forbid a good deal."""
    if "transaction.max.timeout.ms" not in limits:
        yield "the brokers' limits of timeouts (DescribeConfigs on the cluster)"
    if any(topic not in rights for topic in seen.found):
        yield "rights on topics (authorized operations, KIP-430): one that is missing shows when it is needed"
    if hidden := seen.hidden():
        yield f"settings of topics (DescribeConfigs on {', '.join(hidden)})"


def _shared_count(specs: Iterable[TopicSpec], found: Mapping[str, FoundTopic]) -> int | None:
    """The count of the transfers topic, else of the consents topic, else the commonest; None when none exists."""
    counts = [found[spec.name].partitions for spec in specs if spec.shares_count and spec.name in found]
    inputs = [
        found[spec.name].partitions for spec in specs if spec.role in ("transfers", "consents") and spec.name in found
    ]
    if inputs:
        return inputs[0]
    return Counter(counts).most_common(1)[0][0] if counts else None


def _new(spec: TopicSpec, shared: int | None, replication: int | None) -> NewTopic:
    count = shared if spec.shares_count and shared is not None else spec.partitions
    return NewTopic(name=spec.name, partitions=count, replication=replication, configs=spec.configs)


def _compare(
    spec: TopicSpec, found: FoundTopic, configs: Mapping[str, str], shared: int | None, replication: int | None
) -> Iterable[Difference]:
    def difference(setting: str, wanted: str, is_: str, refused: bool, why: str) -> Difference:
        return Difference(topic=spec.name, setting=setting, wanted=wanted, found=is_, refused=refused, why=why)

    if spec.shares_count and shared is not None and found.partitions != shared:
        why = "topics that carry prospects share one partition count, so that equal keys meet"
        yield difference(PARTITIONS, str(shared), str(found.partitions), True, why)
    elif spec.partitions is not None and found.partitions != spec.partitions:
        why = f"{PREFIX}PARTITIONS asks for it; an existing topic is left as it is: `transfer-gate topics grow`"
        yield difference(PARTITIONS, str(spec.partitions), str(found.partitions), False, why)
    if replication is not None and found.replication != replication:
        why = f"{PREFIX}REPLICATION asks for it; an existing topic is left as it is"
        yield difference(REPLICATION, str(replication), str(found.replication), False, why)
    for setting, wanted in spec.configs.items():
        is_ = configs.get(setting)
        if is_ is not None and not _fits(setting, wanted, is_):
            yield difference(setting, wanted, is_, setting == "cleanup.policy", REASONS[setting])


def _fits(setting: str, wanted: str, found: str) -> bool:
    if found == wanted:
        return True
    if setting not in _AT_LEAST:
        return False
    return found == "-1" or (wanted != "-1" and int(found) >= int(wanted))


def _report(
    spec: TopicSpec, found: FoundTopic | None, is_new: bool, error: str | None, differences: Iterable[Difference]
) -> TopicReport:
    action: Literal["exists", "created", "missing", "failed"]
    if error is not None:
        action = "failed"
    elif found is None:
        action = "missing"
    else:
        action = "created" if is_new else "exists"
    return TopicReport(
        topic=spec.name,
        action=action,
        partitions=found.partitions if found else None,
        replication=found.replication if found else None,
        differences=tuple(difference for difference in differences if difference.topic == spec.name),
        error=error or "",
    )
