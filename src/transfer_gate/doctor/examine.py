"""The whole examination, in the order in which a person would fix things."""

import datetime as dt
import time
from collections.abc import Mapping

from transfer_gate.doctor import cluster_checks, identity, local_checks
from transfer_gate.doctor.cluster_checks import strays
from transfer_gate.doctor.local_checks import Finding
from transfer_gate.errors import BrokerUnavailable
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.kafka.access import AccessDenied
from transfer_gate.kafka.cluster import FoundTopic
from transfer_gate.kafka.session import Session, open_session
from transfer_gate.model.registry import Policy, Registry
from transfer_gate.settings import Settings


async def examine(settings: Settings) -> tuple[tuple[Finding, ...], bool]:
    """Every finding, and whether the broker answered. Produces nothing and changes nothing."""
    findings, registry = local_checks.machine(settings)
    try:
        async with open_session(settings) as session:
            findings += await _cluster(session, registry)
    except BrokerUnavailable as error:
        findings.append(Finding("broker", "FAIL", error.message, error.do))
        return tuple(findings), False
    except AccessDenied as error:
        findings.append(Finding("rights", "FAIL", error.message, error.do))
    return tuple(findings), True


async def _cluster(session: Session, registry: Registry | None) -> list[Finding]:
    cluster, settings = session.cluster, session.settings
    findings = await cluster_checks.broker(cluster, settings)
    names = settings.topics
    found = await cluster.topics()
    transfers = await cluster.configs([names.transfers] if names.transfers in found else [])
    findings += await cluster_checks.limits(cluster, settings, transfers.get(names.transfers, {}))
    if registry is not None:
        findings += await cluster_checks.topics(cluster, settings, registry)
    findings.append(await cluster_checks.transactions(cluster, settings))
    findings += await identity.commits(session, found, _order_of(settings, registry))
    findings += await strays(session, found, dt.datetime.now(dt.UTC))
    findings.append(await _clock(session, registry, found))
    findings.append(await cluster_checks.workers(cluster, settings))
    return findings


def _order_of(settings: Settings, registry: Registry | None) -> str:
    return Rulebook.of(settings.topics, registry).registry_order if registry is not None else ""


async def _clock(session: Session, registry: Registry | None, found: Mapping[str, FoundTopic]) -> Finding:
    allowed = registry.policy.clock_skew_seconds if registry else Policy.model_fields["clock_skew_seconds"].default
    reading = await session.cluster.clock()
    if reading is not None:
        return cluster_checks.clock(reading, allowed)
    quarantine = found.get(session.settings.topics.quarantine)
    newest = await session.reader.newest_timestamp(quarantine.name, quarantine.partitions) if quarantine else None
    return cluster_checks.clock_by_records(newest, time.time(), allowed)
