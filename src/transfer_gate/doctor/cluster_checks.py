"""Checks of the cluster: versions, topics, limits, clock, workers, strays."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Final

from transfer_gate.doctor.local_checks import Finding
from transfer_gate.kafka.cluster import ClockReading, Cluster, FoundTopic
from transfer_gate.kafka.session import Session
from transfer_gate.kafka.topics import Difference, Survey, survey
from transfer_gate.model.registry import Registry
from transfer_gate.settings import PREFIX, Settings

#: Levels of the feature `metadata.version` (server-common, MetadataVersion.java) at which a Kafka release begins.
_RELEASES: Final = ((30, "4.3"), (28, "4.2"), (26, "4.1"), (22, "4.0"), (21, "3.9"), (20, "3.8"))
_TESTED_FROM: Final = 28
#: A clock this far off is worth a look; further than `policy.clock_skew_seconds` decisions go wrong. Seconds.
_CLOCK_WARN: Final = 2.0

_NTP: Final = "synchronise this machine and the brokers (NTP)"
_APPLY: Final = "run: transfer-gate topics apply"
_TESTED: Final = "the gate is tested with Kafka 4.2 and newer"
_MANAGED: Final = "docs/how-to/log-in-to-your-kafka.md, Managed clusters"


async def broker(cluster: Cluster, settings: Settings) -> list[Finding]:
    """Reachable, and which version."""
    brokers = await cluster.brokers()
    findings = [Finding("broker", "ok", f"{settings.bootstrap_servers}: {len(brokers)} alive")]
    level = (await cluster.features()).get("metadata.version")
    if level is None:
        found = "not known: the cluster does not say which release of Kafka it follows"
        return [*findings, Finding("kafka", "warn", found, f"ask its provider: {_TESTED}")]
    release = next((name for start, name in _RELEASES if level >= start), "older than 3.8")
    if level >= _TESTED_FROM:
        findings.append(Finding("kafka", "ok", f"feature level {level}, that is Kafka {release}"))
    else:
        findings.append(Finding("kafka", "warn", f"feature level {level}, that is Kafka {release}", _TESTED))
    return findings


#: Settings of the brokers that bound those of the gate.
_LIMITS: Final = (
    "group.min.session.timeout.ms",
    "group.max.session.timeout.ms",
    "transaction.max.timeout.ms",
    "offsets.retention.minutes",
)


async def limits(cluster: Cluster, settings: Settings, transfers: Mapping[str, str]) -> list[Finding]:
    """Limits of the broker that the settings must keep; `transfers`: settings of the input topic."""
    configs = await cluster.broker_configs((await cluster.brokers())[0])
    findings = []
    if hidden := [name for name in _LIMITS if name not in configs]:
        findings.append(
            Finding(
                "broker limits",
                "warn",
                f"not shown, so that the settings are not compared with them: {', '.join(hidden)}",
                f"grant DescribeConfigs on the cluster; where the provider keeps them back, ask for them ({_MANAGED})",
            )
        )
    session_ms = settings.session_timeout_seconds * 1000
    low = float(configs.get("group.min.session.timeout.ms", 0))
    high = float(configs.get("group.max.session.timeout.ms", "inf"))
    if not low <= session_ms <= high:
        findings.append(
            Finding(
                "session timeout",
                "FAIL",
                f"{settings.session_timeout_seconds:g} s; the broker takes {low / 1000:g} to {high / 1000:g} s",
                f"change {PREFIX}SESSION_TIMEOUT_SECONDS",
            )
        )
    longest = float(configs.get("transaction.max.timeout.ms", "inf")) / 1000
    if settings.transaction_timeout_seconds > longest:
        findings.append(
            Finding(
                "transaction timeout",
                "FAIL",
                f"{settings.transaction_timeout_seconds:g} s; the broker takes at most {longest:g} s",
                f"change {PREFIX}TRANSACTION_TIMEOUT_SECONDS",
            )
        )
    kept_minutes = float(configs.get("offsets.retention.minutes", "inf"))
    input_ms = float(transfers.get("retention.ms", 0))
    if kept_minutes < float("inf") and (input_ms < 0 or kept_minutes * 60_000 <= input_ms):
        findings.append(
            Finding(
                "offset retention",
                "warn",
                f"a gate that stands still for {kept_minutes / 1440:g} days is forgotten, "
                "and then refuses to decide until an operator says where it stood",
                "raise the broker's offsets.retention.minutes above the retention of prospect-transfers",
            )
        )
    return findings or [Finding("broker limits", "ok", "timeouts and offset retention fit")]


async def topics(cluster: Cluster, settings: Settings, registry: Registry) -> list[Finding]:
    """Existence, partition counts, settings, replicas."""
    seen = await survey(cluster, settings, registry)
    findings = []
    missing = [spec.name for spec in seen.missing()]
    if missing:
        findings.append(Finding("topics", "FAIL", f"missing: {', '.join(missing)}", _APPLY))
    findings += [_difference(difference) for difference in seen.differences(settings.replication)]
    leaderless = [topic.name for topic in seen.found.values() if topic.leaderless]
    if leaderless:
        findings.append(
            Finding(
                "leaders", "FAIL", f"partitions without leader: {', '.join(leaderless)}", "look at the brokers' logs"
            )
        )
    findings += _replicas(seen, len(await cluster.brokers()))
    if hidden := seen.hidden():
        findings.append(
            Finding(
                "topic settings",
                "warn",
                f"not allowed to read those of {', '.join(hidden)}: clean-up, retention, sizes and copies in sync are "
                "not compared",
                "grant DescribeConfigs on these topics (docs/reference/access.md)",
            )
        )
    if any(finding.check in ("topics", "topic") for finding in findings):
        return findings
    return [Finding("topics", "ok", f"{len(seen.found)} topics, {seen.partitions} partitions each"), *findings]


def _difference(difference: Difference) -> Finding:
    return Finding(
        "topic",
        "FAIL" if difference.refused else "warn",
        f"{difference.topic}: {difference.setting} is {difference.found}, should be {difference.wanted}",
        f"{difference.why}; `topics apply` never changes what exists",
    )


def _replicas(seen: Survey, brokers: int) -> Iterable[Finding]:
    single = sorted(topic.name for topic in seen.found.values() if topic.replication == 1)
    if single and brokers > 1:
        yield Finding(
            "replicas", "warn", f"one copy only: {', '.join(single)}", "a lost disk loses withdrawals: use three copies"
        )
    weak = sorted(
        topic.name
        for topic in seen.found.values()
        if topic.replication >= 3 and int(seen.configs.get(topic.name, {}).get("min.insync.replicas", 2)) < 2
    )
    if weak:
        why = "set min.insync.replicas=2: an acknowledged withdrawal must survive the loss of one broker"
        yield Finding("replicas", "warn", f"acknowledged with one copy: {', '.join(weak)}", why)
    unclean = sorted(
        name for name in seen.found if seen.configs.get(name, {}).get("unclean.leader.election.enable") == "true"
    )
    if unclean:
        why = "set unclean.leader.election.enable=false: an acknowledged withdrawal could vanish"
        yield Finding("replicas", "warn", f"unclean leader election: {', '.join(unclean)}", why)


def clock(reading: ClockReading, allowed: float) -> Finding:
    """This machine's clock against the controller's; decisions compare dates of events with it: `allowed` seconds."""
    found = f"{-reading.offset:+.3f} s against the controller's (±{reading.uncertainty:.3f} s)"
    least = abs(reading.offset) - reading.uncertainty
    if least > allowed:
        return Finding("clock", "FAIL", f"{found}; allowed are {allowed:g} s", _NTP)
    return Finding("clock", "warn", found, _NTP) if least > _CLOCK_WARN else Finding("clock", "ok", found)


def clock_by_records(newest_append_ms: int | None, now: float, allowed: float) -> Finding:
    """The same where the cluster does not report its time: the newest record of quarantine carries the broker's time
    (LogAppendTime), so a clock behind it is wrong; a clock ahead of it looks like a quiet topic.
    """
    behind = newest_append_ms / 1000 - now if newest_append_ms is not None else 0.0
    if behind > _CLOCK_WARN:
        found = f"at least {behind:.1f} s behind the broker's, by its newest record in quarantine"
        return Finding("clock", "FAIL" if behind > allowed else "warn", found, _NTP)
    found = "not known: the cluster does not report its time (right DESCRIBE on the cluster)"
    return Finding("clock", "warn", found, "compare the clocks of this machine and the brokers by hand")


async def transactions(cluster: Cluster, settings: Settings) -> Finding:
    """Whether a worker with these rights can learn how the last transaction of a partition ended (KIP-664)."""
    hidden = await cluster.hides_transactions(f"{settings.app_id}-0")
    if not hidden:
        return Finding("transactions", "ok", "the cluster shows how they ended")
    cost = "a worker that can't see it either ends none whose markers the brokers lost: such a partition stops"
    if hidden == "forbidden":
        return Finding(
            "transactions",
            "warn",
            f"not allowed to see how they ended (DescribeTransactions, KIP-664): {cost}",
            f"grant Describe on transactional id {settings.app_id}-* (a worker's Write includes it); where the "
            f"provider forbids the request: {_MANAGED}",
        )
    return Finding(
        "transactions",
        "warn",
        f"the cluster does not offer to show how they ended (DescribeTransactions, KIP-664): {cost}",
        f"no right helps: {_MANAGED}",
    )


async def workers(cluster: Cluster, settings: Settings) -> Finding:
    """How many workers decide now."""
    count = await cluster.group_members(settings.app_id)
    return Finding("workers", "ok", f"{count or 'none'} in group {settings.app_id}")


#: A younger stray means that its producer is not fixed yet.
_RECENT: Final = dt.timedelta(days=7)
_CHECK: Final = "strays"
_PRODUCER: Final = (
    f"set the partitioner of that producer to Kafka's (murmur2), or {PREFIX}PARTITIONER to that of all producers "
    "(docs/runbooks/TransferGateConsentStray.md)"
)


async def strays(session: Session, found: Mapping[str, FoundTopic], now: dt.datetime) -> list[Finding]:
    """One finding, of the topic of strays. Raises BrokerUnavailable, AccessDenied."""
    topic = session.settings.topics.strays
    if topic not in found:
        return []  # reported as a missing topic
    begins, ends = await session.reader.bounds({topic: found[topic].partitions}, committed_only=True)
    committed = await session.cluster.committed(session.settings.app_id)
    # Markers of transactions have offsets, too: each round that brought some home left a marker.
    waiting = {
        place.partition: left
        for place, end in ends.items()
        if (left := end - committed.get((place.topic, place.partition), begins[place])) > 0
    }
    newest = await session.reader.newest_timestamp(topic, found[topic].partitions)
    return [judged(sum(end - begins[place] for place, end in ends.items()), waiting, newest, now)]


def judged(offsets: int, waiting: Mapping[int, int], newest_ms: int | None, now: dt.datetime) -> Finding:
    """The finding about so many offsets of strays, of which those in `waiting` are not folded, by partition."""
    if waiting:
        listed = ", ".join(f"{left} in partition {number}" for number, left in sorted(waiting.items()))
        return Finding(
            _CHECK,
            "warn",
            f"consent events are on their way to the partition of their key, and not folded there yet: {listed} "
            "(offsets)",
            f"have a worker running that owns these partitions: until then no decision knows them; {_PRODUCER}",
        )
    if newest_ms is None:
        return Finding(_CHECK, "ok", "no consent event stood in another partition than its key's")
    newest = dt.datetime.fromtimestamp(newest_ms / 1000, dt.UTC)
    at_home = f"all that stood elsewhere are home ({offsets:,} offsets, the newest of {newest:%Y-%m-%d %H:%M} UTC)"
    if newest < now - _RECENT:
        return Finding(_CHECK, "ok", at_home)
    return Finding(_CHECK, "warn", f"{at_home}: a producer places keys by another partitioner", _PRODUCER)
