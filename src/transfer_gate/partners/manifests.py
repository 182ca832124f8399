"""Topics and rights of one partner: Strimzi manifests, and the same rights as commands of Kafka."""

import shlex
from collections.abc import Mapping
from typing import Any, Final

import yaml

from transfer_gate.kafka.catalogue import catalogue
from transfer_gate.model.registry import Partner, Registry
from transfer_gate.model.topics import Topics

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


def group(partner: Partner) -> str:
    """Consumer group of the partner, and name of its user."""
    return f"partner-{partner.party_id}"


def topic_manifests(topics: Topics, registry: Registry, partner: Partner, partitions: int, replication: int) -> str:
    """A `KafkaTopic` each: the partner's of the catalogue, and the two of suppressions."""
    name = topics.partners(registry)[partner.party_id]
    specs = catalogue(topics, registry, partitions=partitions, replication=replication)
    of_catalogue = next(dict(spec.configs) for spec in specs if spec.name == name)
    durable = {key: value for key, value in of_catalogue.items() if key == "min.insync.replicas"}
    wanted: dict[str, Mapping[str, str]] = {
        name: of_catalogue,
        suppression_topic(topics, partner): {"cleanup.policy": "compact"} | durable,
        acknowledgement_topic(topics, partner): {"cleanup.policy": "delete"} | durable,
    }
    return _documents(
        {
            "apiVersion": _API,
            "kind": "KafkaTopic",
            "metadata": {"name": topic, "labels": {"strimzi.io/cluster": CLUSTER}},
            "spec": {"partitions": partitions, "replicas": replication, "config": dict(configs)},
        }
        for topic, configs in wanted.items()
    )


def user_manifest(topics: Topics, registry: Registry, partner: Partner) -> str:
    """The `KafkaUser` with the rights of `rights`."""
    acls = [
        {"resource": {"type": kind, "name": name, "patternType": "literal"}, "operations": [operation]}
        for kind, name, operation in rights(topics, registry, partner)
    ]
    user = {
        "apiVersion": _API,
        "kind": "KafkaUser",
        "metadata": {"name": group(partner), "labels": {"strimzi.io/cluster": CLUSTER}},
        "spec": {
            "authentication": {"type": "scram-sha-512"},
            "authorization": {"type": "simple", "acls": acls},
        },
    }
    return _documents([user])


def acl_lines(topics: Topics, registry: Registry, partner: Partner) -> str:
    """The same rights, a command of Kafka a line; each by its whole name: a prefix would match other partners too."""
    return "".join(
        f'kafka-acls.sh --bootstrap-server "$BROKERS" --add --allow-principal User:{group(partner)}'
        f" --operation {operation} --{kind} {shlex.quote(name)}\n"
        for kind, name, operation in rights(topics, registry, partner)
    )


def rights(topics: Topics, registry: Registry, partner: Partner) -> tuple[tuple[str, str, str], ...]:
    """Kind and name of a resource, and the operation on it: all that the partner needs."""
    return (
        ("topic", topics.partners(registry)[partner.party_id], "Read"),
        ("topic", suppression_topic(topics, partner), "Read"),
        ("topic", acknowledgement_topic(topics, partner), "Write"),
        ("group", group(partner), "Read"),
    )


def _documents(manifests: Any) -> str:
    return "".join("---\n" + yaml.safe_dump(manifest, sort_keys=False) for manifest in manifests)
