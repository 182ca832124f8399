"""Writes the Helm chart from the manifests of deploy/kubernetes, which are its only source.

python -m deploy.helm.chart

Every place where a value goes is named below by the text that stands there; a manifest in which that text does not
stand exactly once fails here. `tests/helm` compares what the chart renders with what kustomize renders.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from transfer_gate import __version__
from transfer_gate.settings import PREFIX, Settings

ROOT: Final = Path(__file__).resolve().parents[2]
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
CHART: Final = ROOT / "deploy" / "helm" / "transfer-gate"
_REGISTRY: Final = KUBERNETES / "components" / "registry" / "registry"
_WRITTEN: Final = "Written by deploy/helm/chart.py from deploy/kubernetes; don't edit."

#: What the base adds to every manifest, and to the template of a pod.
_LABELS: Final = {"app.kubernetes.io/name": "transfer-gate", "app.kubernetes.io/part-of": "transfer-gate"}

#: Text of a line in the manifests of the base, and what stands there in the chart.
_IMAGE: Final = (
    "image: transfer-gate\n",
    'image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"\n',
)
_CA: Final = ("secretName: kafka-cluster-ca-cert\n", "secretName: {{ .Values.kafka.caSecret }}\n")
_CHECKSUMS: Final = """      annotations:
        # A change of settings or registry restarts the pods, one after the other.
        checksum/settings: {{ include (print $.Template.BasePath "/settings.yaml") . | sha256sum }}
        {{- if .Values.registry.create }}
        checksum/registry: {{ include (print $.Template.BasePath "/registry.yaml") . | sha256sum }}
        {{- end }}
"""
_WHERE_GIVEN: Final = """      {{{{- with .Values.{value} }}}}
      {field}:
        {{{{- toYaml . | nindent 8 }}}}
      {{{{- end }}}}
"""
_CLAIMS: Final = """{{- if .Values.rocksdb.enabled }}
  persistentVolumeClaimRetentionPolicy:
    whenScaled: Delete
    whenDeleted: Delete
  volumeClaimTemplates:
    - metadata:
        name: data
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .Values.rocksdb.storageClassName }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests:
            storage: {{ .Values.rocksdb.size }}
{{- end }}
"""


def values() -> dict[str, Any]:
    """The default values: what the base and the registry component say."""
    worker, auditor = (_document(f"base/{name}.yaml") for name in ("worker", "auditor"))
    return {
        "image": {"repository": "transfer-gate", "tag": "", "pullSecrets": []},
        "kafka": {
            "caSecret": "kafka-cluster-ca-cert",
            "workerSecret": "transfer-gate-worker",
            "auditorSecret": "transfer-gate-auditor",
        },
        "quarantineKeysSecret": "transfer-gate-quarantine-keys",
        "settings": _settings(),
        "registry": {"create": True},
        "worker": {
            "replicas": worker["spec"]["replicas"],
            "username": "transfer-gate-worker",
            "resources": _resources(worker),
            "affinity": {},
        },
        "auditor": {"username": "transfer-gate-auditor", "resources": _resources(auditor)},
        "rocksdb": {"enabled": False, "size": "20Gi", "storageClassName": ""},
        "networkPolicy": {"enabled": True},
        "serviceMonitor": {"enabled": False},
    }


_COMMENTS: Final = {
    "image": "Built from the Dockerfile of this version. No tag: the version of the chart.",
    "kafka": "Secrets that exist: the brokers' CA (key ca.crt) and the password of each principal (key password).",
    "quarantineKeysSecret": "The master keys of quarantine (key keys), as `transfer-gate key new` makes them.",
    "settings": "Settings of all pods; docs/reference/settings.md says what each is.",
    "registry": "The files under registry/ of this chart. false: you make the ConfigMaps "
    "transfer-gate-registry-policy, -partners and -notices.",
    "worker": "`replicas: null` leaves the number to an autoscaler.",
    "rocksdb": "A consent table larger than memory, on a disk of each worker's own.",
    "networkPolicy": "In: Prometheus in the namespace `monitoring`. Out: names, and the brokers of the Strimzi cluster "
    "`kafka`.",
    "serviceMonitor": "Needs the Prometheus operator.",
}


def schema() -> dict[str, Any]:
    """The JSON Schema by which Helm refuses a value that does not exist or fit."""
    text, flag = {"type": "string"}, {"type": "boolean"}
    name = {"type": "string", "minLength": 1}
    resources = {"type": "object"}
    known = sorted(f"{PREFIX}{field}".upper() for field in Settings.model_fields)
    secret = [setting for setting in known if setting.endswith(("PASSWORD", "SECRET"))]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart transfer-gate",
        **_object(
            image=_object(repository=name, tag=text, pullSecrets={"type": "array", "items": _object(name=name)}),
            kafka=_object(caSecret=name, workerSecret=name, auditorSecret=name),
            quarantineKeysSecret=name,
            settings={
                "type": "object",
                "propertyNames": {"enum": [setting for setting in known if setting not in secret]},
                "additionalProperties": {"type": ["string", "number", "boolean"]},
            },
            registry=_object(create=flag),
            worker=_object(
                replicas={"type": ["integer", "null"], "minimum": 1},
                username=name,
                resources=resources,
                affinity={"type": "object"},
            ),
            auditor=_object(username=name, resources=resources),
            rocksdb=_object(enabled=flag, size=name, storageClassName=text),
            networkPolicy=_object(enabled=flag),
            serviceMonitor=_object(enabled=flag),
            **{"global": {"type": "object"}},
        ),
    }


def files() -> dict[Path, str]:
    """Every file of the chart, by its path within it."""
    written = {
        Path("Chart.yaml"): _chart(),
        Path("values.yaml"): _values_file(),
        Path("values.schema.json"): json.dumps(schema(), indent=2) + "\n",
        Path(".helmignore"): "*.tgz\n",
    }
    templates = {
        "service-account": _labelled("base/service-account.yaml"),
        "worker": _worker(),
        "worker-service": _labelled("base/worker-service.yaml"),
        "pod-disruption-budget": _labelled("base/pod-disruption-budget.yaml"),
        "auditor": _auditor(),
        "auditor-service": _labelled("base/auditor-service.yaml"),
        "network-policy": _when("networkPolicy.enabled", _labelled("base/network-policy.yaml")),
        "service-monitor": _when(
            "serviceMonitor.enabled", _text("components/prometheus-operator/service-monitor.yaml")
        ),
        "settings": _settings_template(),
        "registry": _when("registry.create", _registry_template()),
    }
    written |= {
        Path("templates", f"{name}.yaml"): f"{{{{- /* {_WRITTEN} */ -}}}}\n{text}" for name, text in templates.items()
    }
    return written | {
        Path("registry", path.relative_to(_REGISTRY)): path.read_text(encoding="utf-8")
        for path in sorted(_REGISTRY.rglob("*.yaml"))
    }


def _chart() -> str:
    described = {
        "apiVersion": "v2",
        "name": "transfer-gate",
        "description": "Prospects reach partners only where French law lets them go: workers and auditor.",
        "type": "application",
        "version": __version__,
        "appVersion": __version__,
        "kubeVersion": ">=1.32.0-0",
    }
    return f"# {_WRITTEN}\n{yaml.safe_dump(described, sort_keys=False, width=120)}"


def _values_file() -> str:
    parts = [f"# {_WRITTEN}\n"]
    for key, value in values().items():
        comment = f"# {_COMMENTS[key]}\n" if key in _COMMENTS else ""
        parts.append(comment + yaml.safe_dump({key: value}, sort_keys=False, width=120))
    return "\n".join(parts)


def _worker() -> str:
    text = _pod("worker", _labelled("base/worker.yaml"))
    text = _put(text, "  replicas: 2\n", "{{- with .Values.worker.replicas }}\n  replicas: {{ . }}\n{{- end }}\n")
    text = _put(text, "secretName: transfer-gate-worker\n", "secretName: {{ .Values.kafka.workerSecret }}\n")
    keys = "secretName: {{ .Values.quarantineKeysSecret }}\n"
    text = _put(text, "secretName: transfer-gate-quarantine-keys\n", keys)
    data = "        - name: data\n          emptyDir:\n            sizeLimit: 1Gi\n"
    text = _put(text, data, f"        {{{{- if not .Values.rocksdb.enabled }}}}\n{data}        {{{{- end }}}}\n")
    return text + _CLAIMS


def _auditor() -> str:
    text = _pod("auditor", _labelled("base/auditor.yaml"))
    return _put(text, "secretName: transfer-gate-auditor\n", "secretName: {{ .Values.kafka.auditorSecret }}\n")


def _pod(component: str, text: str) -> str:
    """What both workloads take from the values."""
    text = _put(text, *_IMAGE)
    text = _put(text, *_CA)
    text = _put(text, f"value: transfer-gate-{component}\n", f"value: {{{{ .Values.{component}.username }}}}\n")
    start = text.index("          resources:\n")
    end = text.index("          volumeMounts:\n")
    resources = f"          resources:\n            {{{{- toYaml .Values.{component}.resources | nindent 12 }}}}\n"
    text = text[:start] + resources + text[end:]
    spec = "    spec:\n      serviceAccountName: transfer-gate\n"
    given = _WHERE_GIVEN.format(value="image.pullSecrets", field="imagePullSecrets")
    if component == "worker":
        given += _WHERE_GIVEN.format(value="worker.affinity", field="affinity")
    text = _put(text, spec, spec + given)
    template = "  template:\n    metadata:\n      labels:\n"
    return _put(text, template, f"  template:\n    metadata:\n{_CHECKSUMS}      labels:\n")


def _labelled(name: str) -> str:
    """A manifest of the base with the labels that its kustomization adds, in the pod's template too."""
    text = _text(name)
    for indent in ("  ", "      "):
        added = "".join(f"{indent}  {key}: {value}\n" for key, value in _LABELS.items())
        head = f"{indent}labels:\n"
        if f"\n{head}" in text:
            text = _put(text, f"\n{head}", f"\n{head}{added}")
        elif indent == "  ":
            start = text.index("\nmetadata:\n") + len("\nmetadata:\n")
            text = f"{text[:start]}{head}{added}{text[start:]}"
    return text


def _settings_template() -> str:
    return """apiVersion: v1
kind: ConfigMap
metadata:
  name: transfer-gate-settings
  labels:
    app.kubernetes.io/name: transfer-gate
    app.kubernetes.io/part-of: transfer-gate
data:
  {{- $settings := deepCopy .Values.settings }}
  {{- if .Values.rocksdb.enabled }}
  {{- $_ := set $settings "TRANSFER_GATE_STORE" "rocksdb://" }}
  {{- end }}
  {{- range $name, $value := $settings }}
  {{ $name }}: {{ $value | toString | quote }}
  {{- end }}
"""


def _registry_template() -> str:
    return """{{- $folder := dict "policy" "policy.yaml" "partners" "partners/*.yaml" "notices" "notices/*.yaml" }}
{{- range $kind, $files := $folder }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: transfer-gate-registry-{{ $kind }}
data:
  {{- range $path, $_ := $.Files.Glob (print "registry/" $files) }}
  {{ base $path }}: {{ $.Files.Get $path | quote }}
  {{- end }}
{{- end }}
"""


def _settings() -> dict[str, str]:
    lines = _text("base/settings.env").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _resources(workload: Mapping[str, Any]) -> dict[str, Any]:
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(container["resources"])


def _when(value: str, text: str) -> str:
    return f"{{{{- if .Values.{value} }}}}\n{text}{{{{- end }}}}\n"


def _put(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise ValueError(f"{old!r} stands {text.count(old)} times in the manifest, not once")
    return text.replace(old, new)


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _text(name: str) -> str:
    return (KUBERNETES / name).read_text(encoding="utf-8")


def _document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(_text(name))
    return found


if __name__ == "__main__":
    shutil.rmtree(CHART, ignore_errors=True)
    for path, text in files().items():
        target = CHART / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
