"""Checks rendered manifests against the schemas of Kubernetes; runs in .venv-deploy, see deploy/check.sh.

Kinds of operators (Strimzi, KEDA, Prometheus) have no schema there: tests/repository/test_kubernetes.py checks them.
"""

import sys
from pathlib import Path
from typing import Final

import kubernetes_validate
import yaml

#: The oldest release that is to work, and one of today.
VERSIONS: Final = ("1.32", "1.35")
OPERATORS: Final = ("kafka.strimzi.io/", "keda.sh/", "monitoring.coreos.com/", "kustomize.config.k8s.io/")


def main() -> int:
    """Validate every document of the files given; returns the exit code."""
    wrong, checked = 0, 0
    for name in sys.argv[1:]:
        for manifest in yaml.safe_load_all(Path(name).read_text(encoding="utf-8")):
            if manifest["apiVersion"].startswith(OPERATORS):
                continue
            checked += 1
            for version in VERSIONS:
                try:
                    kubernetes_validate.validate(manifest, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    wrong += 1
                    place = ".".join(map(str, error.path))
                    sys.stderr.write(f"{name}: {manifest['kind']} {manifest['metadata']['name']}: {place}: ")
                    sys.stderr.write(f"{error.message} (Kubernetes {version})\n")
    sys.stdout.write(f"{checked} manifests hold for Kubernetes {' and '.join(VERSIONS)}\n" if not wrong else "")
    return 1 if wrong or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
