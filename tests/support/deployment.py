"""The deployment files as data: manifests, compose file, Dockerfile; and whom their ACLs let do what."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.access import Kind, Right

ROOT: Final = Path(__file__).parents[2]
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
COMPOSE: Final = ROOT / "docker-compose.yml"
PREFIX: Final = "TRANSFER_GATE_"
#: What lets somebody change what stands in a topic, or who may.
HARMFUL: Final = frozenset({"Write", "All", "Delete", "Alter", "AlterConfigs"})
_KINDS: Final[Mapping[str, Kind]] = {
    "topic": "topic",
    "group": "group",
    "transactionalId": "transactional id",
    "cluster": "cluster",
}

Manifest = dict[str, Any]


def documents(path: Path) -> Iterator[Manifest]:
    """Every YAML document of a file that is an object."""
    yield from (found for found in yaml.safe_load_all(path.read_text(encoding="utf-8")) if isinstance(found, dict))


def manifests(*kinds: str) -> list[Manifest]:
    """Every manifest under deploy/kubernetes of these kinds, patches included, wherever it stands."""
    return [one for path in sorted(KUBERNETES.rglob("*.yaml")) for one in documents(path) if one.get("kind") in kinds]


def compose() -> dict[str, dict[str, Any]]:
    """Services of docker-compose.yml by name, with the YAML merges done."""
    services: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return services


def dockerfile() -> str:
    """The Dockerfile with its continued lines joined."""
    return re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))


def image_environment() -> dict[str, str]:
    """Settings that the image carries."""
    return dict(re.findall(rf"({PREFIX}\w+)=(\S+)", dockerfile()))


def environment_files() -> dict[str, str]:
    """Settings that every pod gets from the generated ConfigMap of the base."""
    lines = (KUBERNETES / "base" / "settings.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def literals() -> list[tuple[str, str]]:
    """Settings that components and overlays change."""
    return [
        (name, value)
        for one in manifests("Component", "Kustomization")
        for generator in one.get("configMapGenerator", ())
        for name, value in (literal.split("=", 1) for literal in generator.get("literals", ()))
        if name.startswith(PREFIX)
    ]


def pod(workload: Manifest) -> dict[str, Any]:
    """The pod of a StatefulSet or Deployment."""
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


def workloads() -> dict[str, Manifest]:
    """The workloads by their component."""
    files = ("base/worker", "base/auditor", "components/ingest/deployment")
    return {
        one["metadata"]["labels"]["app.kubernetes.io/component"]: one
        for name in files
        for one in documents(KUBERNETES / f"{name}.yaml")
    }


def settings_of(workload: Manifest) -> dict[str, str]:
    """Every setting that the container of a workload sees."""
    (container,) = pod(workload)["containers"]
    given = {one["name"]: one["value"] for one in container["env"]}
    return {**image_environment(), **environment_files(), **given}


def rights(users: Iterable[Manifest]) -> dict[str, set[Right]]:
    """Principal to the rights that KafkaUsers give it; an ACL without operations gives All."""
    given: dict[str, set[Right]] = {}
    for user in users:
        mine = given.setdefault(user["metadata"]["name"], set())
        for acl in user["spec"].get("authorization", {}).get("acls", ()):
            resource = acl["resource"]
            prefixed = resource.get("patternType") == "prefix"
            for operation in acl.get("operations", ["All"]):
                mine.add(Right(_KINDS[resource["type"]], resource.get("name", ""), prefixed, operation))
    return given


def may_harm(principal_rights: Iterable[Right], topic: str) -> set[str]:
    """The harmful operations that these rights allow on a topic (or on the whole cluster)."""
    return {
        right.operation
        for right in principal_rights
        if right.operation in HARMFUL | {"ClusterAction"} and _covers(right, topic)
    }


def _covers(right: Right, topic: str) -> bool:
    if right.kind == "cluster":
        return True
    if right.kind != "topic":
        return False
    return topic.startswith(right.name) if right.prefixed else right.name in {topic, "*"}
