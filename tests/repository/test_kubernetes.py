"""Manifests name what exists: settings, commands, ports, paths, files, topics; pods may do only what they must."""

import asyncio
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.deployment import (
    KUBERNETES,
    PREFIX,
    ROOT,
    Manifest,
    documents,
    image_environment,
    literals,
    manifests,
    pod,
    settings_of,
    workloads,
)
from transfer_gate.cli import COMMANDS
from transfer_gate.ingest.source import load_sources
from transfer_gate.model.topics import Topics
from transfer_gate.observe.health import serve_health
from transfer_gate.settings import Settings, load_settings

WORKLOADS: Final = workloads()
KUSTOMIZATIONS: Final = sorted(path.parent for path in KUBERNETES.rglob("kustomization.yaml"))


def container(component: str) -> dict[str, Any]:
    (only,) = pod(WORKLOADS[component])["containers"]
    return dict(only)


@pytest.mark.parametrize("component", WORKLOADS)
def test_every_setting_is_a_real_one_with_a_value_that_is_taken(
    component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaded as the process in the pod loads them."""
    for name, value in settings_of(WORKLOADS[component]).items():
        monkeypatch.setenv(name, value)
    settings = load_settings(None)
    assert settings.security_protocol == "SASL_SSL"
    assert settings.sasl_username == f"transfer-gate-{component}"


@pytest.mark.parametrize("given", literals(), ids=str)
def test_what_an_overlay_changes_is_a_real_setting(given: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*given)
    load_settings(None)


def test_every_name_of_a_setting_in_any_file_exists() -> None:
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    for path in (ROOT / "deploy").rglob("*"):
        if path.suffix in {".yaml", ".yml", ".env", ".sh", ".py"}:
            words = path.read_text(encoding="utf-8").replace("=", " ").replace(":", " ").split()
            assert {word for word in words if word.startswith(PREFIX)} <= known, path


def mounted_secrets(component: str) -> dict[str, str]:
    """Mount path to the Secret behind it."""
    secrets = {
        one["name"]: one["secret"]["secretName"] for one in pod(WORKLOADS[component])["volumes"] if "secret" in one
    }
    return {
        mount["mountPath"]: secrets[mount["name"]]
        for mount in container(component)["volumeMounts"]
        if mount["name"] in secrets
    }


def source_secrets() -> set[str]:
    """Names of the secrets that the source files of the component ask for."""
    found: set[str] = set()
    for file in load_sources(KUBERNETES / "components" / "ingest" / "sources"):
        given = file.source.authentication.model_dump(exclude_none=True)
        found |= {
            one[name] for one in given.values() if isinstance(one, dict) for name in one if name.endswith("_file")
        }
    return found


@pytest.mark.parametrize("component", WORKLOADS)
def test_every_secret_is_a_file_of_a_secret_that_is_mounted(component: str) -> None:
    """And none stands in the environment."""
    files = {name: value for name, value in settings_of(WORKLOADS[component]).items() if name.endswith("FILE")}
    assert {f"{PREFIX}SASL_PASSWORD_FILE", f"{PREFIX}SSL_CAFILE"} <= set(files)
    paths = [Path(value) for value in files.values()]
    if component == "ingest":
        paths += [Path(settings_of(WORKLOADS[component])[f"{PREFIX}INGEST_SECRETS"], name) for name in source_secrets()]
    assert {str(path.parent) for path in paths} == set(mounted_secrets(component))
    items = {one["name"]: one["secret"]["items"] for one in pod(WORKLOADS[component])["volumes"] if "secret" in one}
    assert {path.name for path in paths} == {item["path"] for part in items.values() for item in part}
    assert all("valueFrom" not in one for one in container(component)["env"])


def test_only_the_worker_has_the_key_of_quarantine() -> None:
    assert "transfer-gate-quarantine-keys" in mounted_secrets("worker").values()
    assert f"{PREFIX}QUARANTINE_KEY_FILE" in settings_of(WORKLOADS["worker"])
    for component in ("auditor", "ingest"):
        assert "transfer-gate-quarantine-keys" not in mounted_secrets(component).values()
        assert f"{PREFIX}QUARANTINE_KEY_FILE" not in settings_of(WORKLOADS[component])


@pytest.mark.parametrize("component", WORKLOADS)
def test_each_pod_connects_as_the_principal_whose_password_it_has(component: str) -> None:
    principal = settings_of(WORKLOADS[component])[f"{PREFIX}SASL_USERNAME"]
    assert mounted_secrets(component)["/etc/transfer-gate/secrets/kafka-user"] == principal
    assert principal in {user["metadata"]["name"] for user in manifests("KafkaUser")}


@pytest.mark.parametrize("component", WORKLOADS)
def test_a_pod_runs_a_command_that_exists(component: str) -> None:
    assert container(component)["args"][0] in COMMANDS


@pytest.mark.parametrize("component", WORKLOADS)
def test_a_pod_may_do_nothing_that_it_need_not(component: str) -> None:
    spec, only = pod(WORKLOADS[component]), container(component)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    user = spec["securityContext"]["runAsUser"]
    assert f"USER {user}:{spec['securityContext']['runAsGroup']}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert only["resources"]["limits"]["memory"] == only["resources"]["requests"]["memory"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)


async def test_probes_ask_paths_that_answer_on_the_port_that_is_open() -> None:
    server = serve_health("127.0.0.1", 0, lambda: True)
    port = server.port

    def status(path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    try:
        for component, path in ((c, p) for c in WORKLOADS for p in ("livenessProbe", "readinessProbe")):
            probe = container(component)[path]["httpGet"]
            assert await asyncio.to_thread(status, probe["path"]) == 200
            assert probe["port"] == container(component)["ports"][0]["name"]
            assert probe["path"] == ("/healthz" if path == "livenessProbe" else "/readyz")
        assert await asyncio.to_thread(status, "/other") == 404
        (monitor,) = manifests("ServiceMonitor")
        assert await asyncio.to_thread(status, monitor["spec"]["endpoints"][0]["path"]) == 200
    finally:
        await server.close()


def test_one_port_everywhere() -> None:
    port = int(image_environment()[f"{PREFIX}METRICS_PORT"])
    assert port == Settings.model_fields["metrics_port"].default
    for component in WORKLOADS:
        assert {one["name"]: one["containerPort"] for one in container(component)["ports"]}["metrics"] == port
        assert settings_of(WORKLOADS[component])[f"{PREFIX}METRICS_PORT"] == str(port)
    ports = [one for service in manifests("Service") for one in service["spec"]["ports"]]
    assert {one["port"] for one in ports if one["name"] == "metrics"} == {port}
    policy, _ = manifests("NetworkPolicy")
    assert [one["port"] for rule in policy["spec"]["ingress"] for one in rule["ports"]] == [port]


def test_nothing_comes_in_but_prometheus_and_nothing_goes_out_but_names_and_kafka() -> None:
    policy, _ = manifests("NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "transfer-gate"}
    assert all(rule.get("from") for rule in policy["spec"]["ingress"])
    out = [(bool(rule["to"]), one["port"]) for rule in policy["spec"]["egress"] for one in rule["ports"]]
    kafka = int(settings_of(WORKLOADS["worker"])[f"{PREFIX}BOOTSTRAP_SERVERS"].rpartition(":")[2])
    assert out == [(True, 53), (True, 53), (True, kafka)]


def test_platforms_reach_the_port_of_ingest_through_the_proxies_that_it_trusts_and_no_other_pod() -> None:
    settings = settings_of(WORKLOADS["ingest"])
    port = int(settings[f"{PREFIX}INGEST_PORT"])
    assert port == Settings.model_fields["ingest_port"].default
    assert {"name": "http", "containerPort": port} in container("ingest")["ports"]
    _, policy = manifests("NetworkPolicy")
    assert policy["spec"]["podSelector"] == WORKLOADS["ingest"]["spec"]["selector"]
    assert [(len(rule["from"]), rule["ports"]) for rule in policy["spec"]["ingress"]] == [
        (1, [{"protocol": "TCP", "port": port}])
    ]
    assert settings[f"{PREFIX}INGEST_TRUSTED_PROXIES"]
    (ingress,) = manifests("Ingress")
    (rule,) = ingress["spec"]["rules"]
    assert [rule["host"]] == ingress["spec"]["tls"][0]["hosts"]
    assert rule["http"]["paths"][0]["path"] == "/ingest/"
    assert rule["http"]["paths"][0]["backend"]["service"] == {"name": "transfer-gate-ingest", "port": {"name": "http"}}


def labels(manifest: Manifest) -> dict[str, str]:
    """Labels of a manifest with those that the base adds."""
    base = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text(encoding="utf-8"))
    return {**base["labels"][0]["pairs"], **manifest["metadata"].get("labels", {})}


def test_selectors_find_what_they_are_for() -> None:
    for component, workload in WORKLOADS.items():
        template = labels({"metadata": workload["spec"]["template"]["metadata"]})
        assert workload["spec"]["selector"]["matchLabels"].items() <= template.items()
        selecting = [one for one in manifests("Service") if one["spec"]["selector"].items() <= template.items()]
        assert [one["metadata"]["name"] for one in selecting] == [f"transfer-gate-{component}"]
    (monitor,) = manifests("ServiceMonitor")
    watched = [
        one for one in manifests("Service") if monitor["spec"]["selector"]["matchLabels"].items() <= labels(one).items()
    ]
    assert sorted(one["metadata"]["labels"][monitor["spec"]["jobLabel"]] for one in watched) == [
        "transfer-gate",
        "transfer-gate-audit",
        "transfer-gate-ingest",
    ]
    budgets = {one["metadata"]["name"]: one["spec"]["selector"] for one in manifests("PodDisruptionBudget")}
    assert budgets == {
        f"transfer-gate-{component}": WORKLOADS[component]["spec"]["selector"] for component in ("worker", "ingest")
    }


def test_a_stop_is_given_the_time_that_it_takes() -> None:
    """The worker gives up after 10 s at the latest (contract section 7: SIGTERM finishes the round)."""
    assert all(pod(one)["terminationGracePeriodSeconds"] > 10 for one in WORKLOADS.values())


def test_scaling_follows_the_group_and_the_topic_of_the_gate() -> None:
    (scaled,) = manifests("ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    topics = Topics()
    assert (trigger["metadata"]["topic"], trigger["metadata"]["consumerGroup"]) == (topics.transfers, topics.app_id)
    assert scaled["spec"]["scaleTargetRef"]["name"] == WORKLOADS["worker"]["metadata"]["name"]
    partitions = {one["metadata"]["name"]: one["spec"]["partitions"] for one in manifests("KafkaTopic")}
    assert scaled["spec"]["maxReplicaCount"] == partitions[topics.transfers]
    assert scaled["spec"]["minReplicaCount"] >= 2


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda path: str(path.relative_to(KUBERNETES)))
def test_a_kustomization_lists_files_that_exist_and_leaves_none_out(folder: Path) -> None:
    """A manifest that is not listed would be reviewed and never applied."""
    (own,) = documents(folder / "kustomization.yaml")
    files = [folder / name for key in ("resources", "components") for name in own.get(key, ())]
    files += [folder / patch["path"] for patch in own.get("patches", ())]
    for generator in own.get("configMapGenerator", ()):
        files += [folder / name for key in ("files", "envs") for name in generator.get(key, ())]
    assert [path for path in files if not path.exists()] == []
    present = {path for path in folder.rglob("*") if path.is_file() and path.suffix in {".yaml", ".env"}}
    assert present - {folder / "kustomization.yaml"} == {path for path in files if path.is_file()}


def test_every_patch_has_something_to_change() -> None:
    named = {(one["kind"], one["metadata"]["name"]) for one in WORKLOADS.values()}
    for folder in KUSTOMIZATIONS:
        (own,) = documents(folder / "kustomization.yaml")
        for patch in own.get("patches", ()):
            target = patch.get("target")
            if target is None:
                (manifest,) = documents(folder / patch["path"])
                target = {"kind": manifest["kind"], "name": manifest["metadata"]["name"]}
            assert (target["kind"], target["name"]) in named


def test_the_source_that_is_deployed_is_the_sample() -> None:
    deployed = KUBERNETES / "components" / "ingest" / "sources" / "signed.yaml"
    assert deployed.read_bytes() == (ROOT / "examples" / "ingest" / "signed.yaml").read_bytes()


def test_the_registry_that_is_deployed_is_the_sample() -> None:
    """An installation puts its own in its place; until then it is one that the tests know."""
    deployed, sample = KUBERNETES / "components" / "registry" / "registry", ROOT / "examples" / "registry"
    files = {path.relative_to(sample): path.read_bytes() for path in sample.rglob("*.yaml")}
    assert {path.relative_to(deployed): path.read_bytes() for path in deployed.rglob("*.yaml")} == files
