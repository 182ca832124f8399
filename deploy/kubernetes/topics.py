"""Writes the topics of a registry as Strimzi `KafkaTopic`s, to stdout: names and settings of the catalogue.

python deploy/kubernetes/topics.py examples/registry > deploy/kubernetes/components/strimzi/topics.yaml
"""

import sys
from pathlib import Path
from typing import Any, Final

import yaml

from transfer_gate.kafka.catalogue import TopicSpec, catalogue
from transfer_gate.model.registry import Registry
from transfer_gate.model.topics import Topics
from transfer_gate.registry import load_registry

#: Can't be changed later without moving every key (docs/reference/topics.md).
PARTITIONS: Final = 12
REPLICATION: Final = 3
CLUSTER: Final = "kafka"


def manifests(registry: Registry) -> str:
    """One YAML document a topic, inputs first."""
    specs = catalogue(Topics(), registry, partitions=PARTITIONS, replication=REPLICATION)
    head = "# Written by deploy/kubernetes/topics.py from the catalogue and the registry; don't edit.\n"
    return head + "".join("---\n" + yaml.safe_dump(_manifest(spec), sort_keys=False) for spec in specs)


def _manifest(spec: TopicSpec) -> dict[str, Any]:
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "metadata": {"name": spec.name, "labels": {"strimzi.io/cluster": CLUSTER}},
        "spec": {"partitions": spec.partitions, "replicas": REPLICATION, "config": dict(spec.configs)},
    }


if __name__ == "__main__":
    sys.stdout.write(manifests(load_registry(Path(sys.argv[1]))))
