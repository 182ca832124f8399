"""What helm renders from the chart is what kustomize renders from the manifests (`make check-helm`)."""

import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from transfer_gate import __version__

pytestmark = pytest.mark.helm
ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "deploy" / "helm" / "transfer-gate"
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
#: The oldest release that is to work; helm alone would take the one that it was built with.
KUBE_VERSION: Final = "1.32.0"
#: Of what a name is made anew at every change; a chart has checksums in annotations instead.
GENERATED: Final = ("transfer-gate-settings", "transfer-gate-registry-")

Manifests = dict[tuple[str, str], dict[str, Any]]


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def by_name(rendered: str) -> Manifests:
    """Manifests by kind and name, without what the two do differently on purpose."""
    found: Manifests = {}
    for manifest in yaml.safe_load_all(rendered):
        if manifest:
            plain = without_generated(manifest)
            found[plain["kind"], plain["metadata"]["name"]] = plain
    return found


def without_generated(value: Any) -> Any:
    """The value without hashes behind names of ConfigMaps, and without annotations of checksums."""
    if isinstance(value, dict):
        kept = {key: without_generated(member) for key, member in value.items()}
        notes = kept.get("annotations")
        if isinstance(notes, dict) and all(key.startswith("checksum/") for key in notes):
            del kept["annotations"]
        return kept
    if isinstance(value, list):
        return [without_generated(member) for member in value]
    if isinstance(value, str) and value.startswith(GENERATED):
        head, _, tail = value.rpartition("-")
        return head if len(tail) == 10 else value
    return value


def by_kustomize(folder: Path, *components: str) -> Manifests:
    """The base with these components, rendered by kustomize."""
    # Roots are relative to the kustomization, and it has to stand in the tree that they are in.
    base = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [relative(KUBERNETES / "base", folder)],
        "components": [relative(KUBERNETES / "components" / name, folder) for name in components],
        "images": [{"name": "transfer-gate", "newTag": __version__}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    return by_name(run("kustomize", "build", folder))


def relative(target: Path, folder: Path) -> str:
    return str(Path(*[".."] * len(folder.resolve().parts[1:]), *target.resolve().parts[1:]))


def by_helm(*options: str) -> Manifests:
    return by_name(run("helm", "template", "transfer-gate", CHART, "--kube-version", KUBE_VERSION, *options))


@pytest.mark.parametrize(
    ("components", "options"),
    [
        (("registry",), ()),
        (
            ("registry", "rocksdb", "prometheus-operator"),
            ("--set", "rocksdb.enabled=true", "--set", "serviceMonitor.enabled=true"),
        ),
    ],
    ids=["defaults", "rocksdb and monitor"],
)
def test_the_chart_renders_what_kustomize_renders(
    components: tuple[str, ...], options: tuple[str, ...], tmp_path: Path
) -> None:
    helm, kustomize = by_helm(*options), by_kustomize(tmp_path, *components)
    assert helm.keys() == kustomize.keys()
    for name, manifest in kustomize.items():
        assert helm[name] == manifest, name


def test_helm_finds_nothing_to_complain_about() -> None:
    run("helm", "lint", "--strict", "--kube-version", KUBE_VERSION, CHART)


def test_values_arrive() -> None:
    given = (
        "worker.replicas=5",
        "image.tag=9.9.9",
        "settings.TRANSFER_GATE_LOG_LEVEL=debug",
        "networkPolicy.enabled=false",
    )
    found = by_helm(*(word for value in given for word in ("--set", value)))
    worker = found["StatefulSet", "transfer-gate-worker"]["spec"]
    assert worker["replicas"] == 5
    assert worker["template"]["spec"]["containers"][0]["image"] == "transfer-gate:9.9.9"
    assert found["ConfigMap", "transfer-gate-settings"]["data"]["TRANSFER_GATE_LOG_LEVEL"] == "debug"
    assert not [kind for kind, _ in found if kind == "NetworkPolicy"]


@pytest.mark.parametrize("wrong", ["worker.replica=5", "settings.TRANSFER_GATE_NONSENSE=1"])
def test_a_value_that_does_not_exist_is_refused(wrong: str) -> None:
    command = ["helm", "template", "x", str(CHART), "--kube-version", KUBE_VERSION, "--set", wrong]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert wrong.partition("=")[0].rpartition(".")[2] in done.stderr


def test_a_change_of_a_setting_changes_the_pods() -> None:
    """So that it restarts them; the names of the ConfigMaps stay."""

    def checksums(*options: str) -> set[str]:
        rendered = run("helm", "template", "x", CHART, "--kube-version", KUBE_VERSION, *options)
        return {line.strip() for line in rendered.splitlines() if "checksum/settings" in line}

    assert len(checksums()) == 1
    assert checksums() != checksums("--set", "settings.TRANSFER_GATE_LOG_LEVEL=debug")
