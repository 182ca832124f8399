"""Topics and rights of one partner: Strimzi manifests, and the same rights as commands of Kafka."""

import shlex
from typing import Any, Final

import yaml

from transfer_gate.kafka.catalogue import catalogue
from transfer_gate.model.registry import Partner, Registry
from transfer_gate.model.topics import PartyPrincipal, Topics

#: Name of the Strimzi cluster, as in deploy/kubernetes.
CLUSTER: Final = "kafka"
_API: Final = "kafka.strimzi.io/v1"


def suppression_topic(topics: Topics, partner: Partner) -> str:
    """The topic of what the partner must stop using (contract section 5a)."""
    named = partner.suppression.topic if partner.suppression is not None else None
    return f"{topics.prefix}{named or f'suppressions.{partner.party_id}'}"


def acknowledgement_topic(topics: Topics, partner: Partner) -> str:
    """The topic of the partner's acknowledgements (contract section 5a)."""
    return f"{topics.prefix}suppression-acks.{partner.party_id}"


def group(partner: Partner, principal: PartyPrincipal = "partner") -> str:
    """Consumer group of the partner, or of the program that delivers to it, and name of its user."""
    return f"{principal}-{partner.party_id}"


def principals(partner: Partner) -> tuple[PartyPrincipal, ...]:
    """Who needs a user. A partner without Kafka has none, but for suppressions, where the registry names a topic."""
    if partner.delivery is None:
        return ("partner",)
    return ("partner", "courier") if partner.suppression and partner.suppression.topic else ("courier",)


def topic_manifests(topics: Topics, registry: Registry, partner: Partner, partitions: int, replication: int) -> str:
    """A `KafkaTopic` each: the partner's of the catalogue, and the two of suppressions."""
    own = {topic.name for topic in topics.of_party(partner)}
    specs = catalogue(topics, registry, partitions=partitions, replication=replication)
    wanted = [(spec.name, spec.partitions, dict(spec.configs)) for spec in specs if spec.name in own]
    durable = {key: value for key, value in wanted[0][2].items() if key == "min.insync.replicas"}
    return _documents(
        {
            "apiVersion": _API,
            "kind": "KafkaTopic",
            "metadata": {"name": topic, "labels": {"strimzi.io/cluster": CLUSTER}},
            "spec": {"partitions": count, "replicas": replication, "config": configs},
        }
        for topic, count, configs in (
            *wanted,
            (suppression_topic(topics, partner), partitions, {"cleanup.policy": "compact"} | durable),
            (acknowledgement_topic(topics, partner), partitions, {"cleanup.policy": "delete"} | durable),
        )
    )


def user_manifest(topics: Topics, partner: Partner) -> str:
    """A `KafkaUser` for each principal, with its `rights`."""
    return _documents(
        {
            "apiVersion": _API,
            "kind": "KafkaUser",
            "metadata": {"name": group(partner, principal), "labels": {"strimzi.io/cluster": CLUSTER}},
            "spec": {
                "authentication": {"type": "scram-sha-512"},
                "authorization": {
                    "type": "simple",
                    "acls": [
                        {"resource": {"type": kind, "name": name, "patternType": "literal"}, "operations": [operation]}
                        for kind, name, operation in rights(topics, partner, principal)
                    ],
                },
            },
        }
        for principal in principals(partner)
    )


def acl_lines(topics: Topics, partner: Partner) -> str:
    """The same rights, a command of Kafka a line; each by its whole name: a prefix would match other partners too."""
    return "".join(
        f'kafka-acls.sh --bootstrap-server "$BROKERS" --add --allow-principal User:{group(partner, principal)}'
        f" --operation {operation} --{kind} {shlex.quote(name)}\n"
        for principal in principals(partner)
        for kind, name, operation in rights(topics, partner, principal)
    )


def rights(topics: Topics, partner: Partner, principal: PartyPrincipal) -> tuple[tuple[str, str, str], ...]:
    """Kind and name of a resource, and the operation on it: all that the principal needs."""
    listed = [*topics.of_party(partner)]
    reads = [topic.name for topic in listed if topic.reads == principal]
    writes = [topic.name for topic in listed if topic.writes == principal]
    if principal == "partner":
        reads.append(suppression_topic(topics, partner))
        writes.append(acknowledgement_topic(topics, partner))
    return (
        *(("topic", name, "Read") for name in reads),
        *(("topic", name, "Write") for name in writes),
        ("group", group(partner, principal), "Read"),
    )


def _documents(manifests: Any) -> str:
    return "".join("---\n" + yaml.safe_dump(manifest, sort_keys=False) for manifest in manifests)
