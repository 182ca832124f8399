#!/bin/sh
# Checks the deployment files without an engine, a cluster or the network: `make check-deploy`.
# The one argument is the bin folder of an environment with requirements/deploy.txt.
set -eu
bin=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "== yamllint"
"$bin/yamllint" --strict docker-compose.yml deploy/kubernetes

echo "== Dockerfile"
"$bin/hadolint" Dockerfile

echo "== docker-compose.yml"
"$bin/check-jsonschema" --builtin-schema vendor.compose-spec docker-compose.yml

# The overlays as they would be applied. Every kustomize will do: kubectl has one built in.
if command -v kubectl >/dev/null; then
    render() { kubectl kustomize "$1"; }
elif command -v kustomize >/dev/null; then
    render() { kustomize build "$1"; }
else
    render() { return 3; }
    echo "== kubernetes: neither kubectl nor kustomize is here; checking the base, not the overlays" >&2
fi
for overlay in staging production; do
    echo "== kubernetes: $overlay"
    if render "deploy/kubernetes/overlays/$overlay" >"$work/$overlay.yaml" 2>"$work/errors"; then
        "$bin/python" deploy/kubernetes/validate.py "$work/$overlay.yaml"
    elif [ -s "$work/errors" ]; then
        cat "$work/errors" >&2
        exit 1
    else
        "$bin/python" deploy/kubernetes/validate.py deploy/kubernetes/base/*.yaml
    fi
done

# What the Dockerfile does, in a folder: the wheel compiles, the runtime's requirements are enough, and the wheel holds
# everything. Needs a C compiler.
echo "== image, dry run"
python=$("$bin/python" -c 'import sys; print(sys.executable)')
pip="-m pip --disable-pip-version-check install --quiet --no-input"
sh .ci/find-compiler "$python"
"$python" -m venv "$work/build"
"$work/build/bin/python" $pip --require-hashes --only-binary :all: -r requirements/compile.txt -r requirements/runtime.txt
"$python" -m venv "$work/image"
"$work/image/bin/python" $pip --require-hashes --only-binary :all: -r requirements/runtime.txt
mkdir "$work/source"
cp -R pyproject.toml README.md CHANGELOG.md LICENSE examples src "$work/source"
HATCH_BUILD_HOOK_ENABLE_MYPYC=1 "$work/build/bin/python" -m pip --disable-pip-version-check wheel --quiet --no-deps \
    --no-build-isolation --wheel-dir "$work/dist" "$work/source"
"$work/image/bin/python" $pip --no-deps "$work"/dist/*.whl
(
    cd "$work"
    image/bin/transfer-gate --version
    for command in worker "topics apply" audit ingest; do
        # shellcheck disable=SC2086
        image/bin/transfer-gate $command --help >/dev/null
    done
    image/bin/python -c "import transfer_gate.ingest.service, transfer_gate.gate.worker, transfer_gate.gate.rocksdb"
    image/bin/python -c "from transfer_gate.policy.written import is_compiled; assert is_compiled()"
)
"$work/image/bin/transfer-gate" registry check examples/registry >/dev/null
