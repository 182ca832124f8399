"""Topics and rights of one partner: Strimzi manifests, and the same rights as commands of Kafka."""

import shlex
from typing import Any, Final

import yaml

from transfer_gate.kafka.catalogue import catalogue
from transfer_gate.model.registry import SUPPRESSIONS_PREFIX, Partner, Registry
from transfer_gate.model.topics import ACKNOWLEDGEMENTS_PREFIX, PartyPrincipal, Topics

#: Name of the Strimzi cluster, as in deploy/kubernetes.
CLUSTER: Final = "kafka"
_API: Final = "kafka.strimzi.io/v1"


def suppression_topic(topics: Topics, partner: Partner) -> str:
    """The topic of what the partner must stop using (contract section 5a)."""
    return f"{topics.prefix}{partner.suppressions_topic() or f'{SUPPRESSIONS_PREFIX}{partner.party_id}'}"


def acknowledgement_topic(topics: Topics, partner: Partner) -> str:
    """The topic of the partner's acknowledgements (contract section 5a)."""
    return f"{topics.prefix}{ACKNOWLEDGEMENTS_PREFIX}{partner.party_id}"


def group(partner: Partner, principal: PartyPrincipal = "partner") -> str:
    """Consumer group of the partner, or of the program that delivers to it, and name of its user."""
    return f"{principal}-{partner.party_id}"


def principals(partner: Partner) -> tuple[PartyPrincipal, ...]:
    """Who needs a user. A partner without Kafka has none, but for suppressions, where the registry names a topic."""
    if partner.delivery is None:
        return ("partner",)
    return ("partner", "courier") if partner.suppression and partner.suppression.topic else ("courier",)


def topic_manifests(topics: Topics, registry: Registry, partner: Partner, partitions: int, replication: int) -> str:
    """A `KafkaTopic` for each topic of the partner, with the settings of the catalogue."""
    own = {topic.name for topic in topics.of_party(partner)}
    return _documents(
        {
            "apiVersion": _API,
            "kind": "KafkaTopic",
            "metadata": {"name": spec.name, "labels": {"strimzi.io/cluster": CLUSTER}},
            "spec": {"partitions": spec.partitions, "replicas": replication, "config": dict(spec.configs)},
        }
        for spec in catalogue(topics, registry, partitions=partitions, replication=replication)
        if spec.name in own
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
    return (
        *(("topic", name, "Read") for name in reads),
        *(("topic", name, "Write") for name in writes),
        ("group", group(partner, principal), "Read"),
    )


def _documents(manifests: Any) -> str:
    return "".join("---\n" + yaml.safe_dump(manifest, sort_keys=False) for manifest in manifests)
