# What one does with a clone. `make help` lists it. Needs make and Python >= 3.11 with venv, nothing else.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
LINT_VENV := .venv-lint
MUTATE_VENV := .venv-mutate
DEPLOY_VENV := .venv-deploy
COMPILED_VENV := .venv-compiled
BENCH_VENV := .venv-bench
DOCS_VENV := .venv-docs
RELEASE_VENV := .venv-release
BIN := $(VENV)/bin
LINT_BIN := $(LINT_VENV)/bin
DEPLOY_BIN := $(DEPLOY_VENV)/bin
COMPILED_BIN := $(COMPILED_VENV)/bin
# What meets the compiled code: the decision and its explanation, and then everything of a worker's.
COMPILED_TESTS := tests/cases tests/repository/test_compiled.py tests/property tests/unit/policy tests/unit/cases tests/unit/cli/test_policy_explain.py tests/unit/gate/test_rounds.py \
	tests/unit/cli/test_recorded_decisions.py tests/integration/gate/test_outputs.py tests/integration/gate/test_sealing.py \
	tests/integration/gate/test_odd_transfers.py tests/integration/replay/test_plan_and_run.py
# What must hold on every release of Kafka: nothing leaks, nothing is lost or doubled, quarantine, replay.
BROKER_TESTS := tests/faults/test_leaks.py tests/faults/test_exactly_once.py tests/integration/quarantine/test_changes.py \
	tests/integration/replay/test_plan_and_run.py
KAFKA_VERSIONS ?= $(patsubst src/transfer_gate/local/kafka-jars-%.json,%,$(wildcard src/transfer_gate/local/kafka-jars-*.json))
SOURCES := $(shell find src examples -type f -not -name '*.pyc')
STREAMS := benchmarks/kafka-streams/target

# A Python to make the environments with; `make PYTHON=/path/to/python3.12 setup` chooses another.
PYTHON ?=
# In how many processes tests run, each with a Kafka of its own; a file's tests stay together. In the order of folders, so that
# the quick files of tests/unit come last and no process waits for the other.
PROCESSES ?= 2
SPREAD := -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
# Options for the program that a target runs: `make demo ARGS=--keep`, `make test ARGS='tests/unit -x'`.
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# A stray setting of the shell must not decide where packages go.
unexport PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET

PIP := -m pip install --quiet --no-input

.PHONY: help setup demo test test-long test-brokers compiled check-compiled check-monitoring check-deploy check-helm check-install docs wheels wheels-all sbom lint format bench bench-quick mutate requirements clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 \2/p' Makefile | awk '{ printf "  %-22s", $$1 " " $$2; $$1 = $$2 = ""; print $$0 }'

setup: $(VENV)/.ready ## make .venv with everything in it, from hashed requirements

demo: $(VENV)/.ready ## watch transfers flow through a real local Kafka (ARGS=--keep leaves it running)
	$(BIN)/transfer-gate demo $(ARGS)

test: $(VENV)/.ready ## the tests, some minutes; they start a Kafka of their own
	$(BIN)/python -m pytest $(if $(ARGS),,$(SPREAD)) --timeout 300 $(ARGS)

test-long: $(VENV)/.ready ## the long suites: leaks, exactly-once under kills, a large state
	$(BIN)/python -m pytest -m long $(ARGS)

test-brokers: $(VENV)/.ready ## the core of the promises on every pinned release of Kafka (KAFKA_VERSIONS=3.9.1 for one)
	@for version in $(KAFKA_VERSIONS); do echo "== Apache Kafka $$version"; \
		TRANSFER_GATE_TEST_KAFKA_VERSION=$$version $(BIN)/python -m pytest --timeout 600 $(BROKER_TESTS) $(ARGS) || exit 1; done

check-monitoring: $(VENV)/.ready ## alerts, dashboards and a live Prometheus (needs Debian's prometheus and prometheus-alertmanager)
	$(BIN)/python -m pytest --timeout 300 -m monitoring tests/monitoring $(ARGS)

compiled: $(COMPILED_VENV)/.ready ## the package as the image has it, in .venv-compiled: the hot path as C (needs a C compiler)

check-compiled: $(COMPILED_VENV)/.ready ## cases, properties, rounds and a real stream on the compiled package
	$(COMPILED_BIN)/python -m pytest $(SPREAD) --timeout 300 -m 'not long and not monitoring and not helm and not install and not interpreted' $(COMPILED_TESTS) $(ARGS)

check-deploy: $(DEPLOY_VENV)/.ready ## the deployment files, offline: schemas, linters, a dry run of the image
	sh deploy/check.sh $(DEPLOY_BIN)

wheels: $(RELEASE_VENV)/.ready ## dist/: source, the pure wheel, and the compiled one for this machine (needs a C compiler)
	@sh .ci/wheels $(RELEASE_VENV)/bin/python

wheels-all: $(RELEASE_VENV)/.ready ## dist/: a compiled wheel for each Python of this platform (Linux: needs Docker)
	$(RELEASE_VENV)/bin/cibuildwheel --output-dir dist

check-install: $(VENV)/.ready wheels ## each wheel of dist/ in an empty environment decides, as the README says
	$(BIN)/python -m pytest --timeout 600 -m install tests/install $(ARGS)

check-helm: $(VENV)/.ready ## the Helm chart: lint, and the same as kustomize (needs both, or Go to build them)
	@folder=$$(sh .ci/find-helm) && PATH="$$folder:$$PATH" $(BIN)/python -m pytest --timeout 300 -m helm tests/helm $(ARGS)

docs: $(DOCS_VENV)/.ready ## the docs as a site in build/site; a link that leads nowhere fails
	@$(DOCS_VENV)/bin/python .ci/site.py build/site-source
	@$(DOCS_VENV)/bin/mkdocs build --strict --quiet || $(DOCS_VENV)/bin/mkdocs build --strict

sbom: $(DEPLOY_VENV)/.ready ## what the image's Python packages are: dist/sbom.cdx.json (CycloneDX)
	@mkdir -p dist
	PYTHONWARNINGS=ignore $(DEPLOY_BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-format JSON \
		--spec-version 1.6 --mc-type application --output-file dist/sbom.cdx.json requirements/runtime.txt

lint: $(VENV)/.ready $(LINT_VENV)/.ready ## ruff and mypy --strict
	$(LINT_BIN)/ruff check .
	$(LINT_BIN)/ruff format --check .
	$(LINT_BIN)/mypy --strict --python-executable $(BIN)/python src tests benchmarks

format: $(LINT_VENV)/.ready ## let ruff write what it would complain about
	$(LINT_BIN)/ruff check --fix .
	$(LINT_BIN)/ruff format .

bench: $(COMPILED_VENV)/.ready $(BENCH_VENV)/.ready $(STREAMS)/.ready ## all benchmarks, most of an hour (needs mvn and a C compiler; ARGS='latency --quick' runs a part)
	$(COMPILED_BIN)/python -m benchmarks $(ARGS)

bench-quick: $(COMPILED_VENV)/.ready $(BENCH_VENV)/.ready ## before a release: the gate as a ratio to a plain Faust agent and to a bare loop
	$(COMPILED_BIN)/python -m benchmarks.quick $(ARGS)

mutate: $(VENV)/.ready $(MUTATE_VENV)/.ready ## break the decision in 1,500 ways, see that tests notice (ARGS="--minutes 3")
	@$(MUTATE_VENV)/bin/python mutation/run.py $(ARGS)

# Stamps, so that a second run is instant. Changed requirements make the environment anew, with nothing left behind.
$(VENV)/.ready: $(VENV)/.requirements pyproject.toml
	@$(BIN)/python $(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.requirements: requirements/test.txt
	@python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) && "$$python" -m venv --clear $(VENV)
	@echo "installing into $(VENV)" >&2
	@$(BIN)/python $(PIP) --require-hashes -r requirements/test.txt
	@touch $@

$(LINT_VENV)/.ready: requirements/lint.txt
	@python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) && "$$python" -m venv --clear $(LINT_VENV)
	@echo "installing into $(LINT_VENV)" >&2
	@$(LINT_BIN)/python $(PIP) --require-hashes -r requirements/lint.txt
	@touch $@

$(MUTATE_VENV)/.ready: requirements/mutate.txt
	@python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) && "$$python" -m venv --clear $(MUTATE_VENV)
	@echo "installing into $(MUTATE_VENV)" >&2
	@$(MUTATE_VENV)/bin/python $(PIP) --require-hashes -r requirements/mutate.txt
	@touch $@

# The package as the image has it: compiled, and installed, so that src/ stays free of machine code. Built in a copy,
# because hatch-mypyc works in place.
$(COMPILED_VENV)/.ready: $(COMPILED_VENV)/.requirements pyproject.toml $(SOURCES)
	@sh .ci/find-compiler $(COMPILED_BIN)/python
	@stray=$$(find src -name "*.so"); [ -z "$$stray" ] || { echo "machine code under src/ hides the sources: remove $$stray" >&2; exit 1; }
	@echo "compiling into $(COMPILED_VENV)" >&2
	@rm -rf build/compiled && mkdir -p build/compiled
	@cp -R pyproject.toml README.md CHANGELOG.md LICENSE examples src build/compiled/
	@HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(COMPILED_BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation \
		--wheel-dir build/compiled/dist build/compiled
	@$(COMPILED_BIN)/python $(PIP) --no-deps --force-reinstall build/compiled/dist/*.whl
	@cd build && ../$(COMPILED_BIN)/python -c 'from transfer_gate.policy.written import is_compiled; assert is_compiled()'
	@touch $@

$(COMPILED_VENV)/.requirements: requirements/test.txt requirements/compile.txt
	@python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) && "$$python" -m venv --clear $(COMPILED_VENV)
	@echo "installing into $(COMPILED_VENV)" >&2
	@$(COMPILED_BIN)/python $(PIP) --require-hashes -r requirements/test.txt -r requirements/compile.txt
	@touch $@

$(DEPLOY_VENV)/.ready: requirements/deploy.txt
	@python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) && "$$python" -m venv --clear $(DEPLOY_VENV)
	@echo "installing into $(DEPLOY_VENV)" >&2
	@$(DEPLOY_BIN)/python $(PIP) --require-hashes -r requirements/deploy.txt
	@touch $@

$(RELEASE_VENV)/.ready: requirements/release.txt requirements/runtime.txt
	@python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) && "$$python" -m venv --clear $(RELEASE_VENV)
	@echo "installing into $(RELEASE_VENV)" >&2
	@$(RELEASE_VENV)/bin/python $(PIP) --require-hashes -r requirements/release.txt -r requirements/runtime.txt
	@touch $@

$(DOCS_VENV)/.ready: requirements/docs.txt
	@python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) && "$$python" -m venv --clear $(DOCS_VENV)
	@echo "installing into $(DOCS_VENV)" >&2
	@$(DOCS_VENV)/bin/python $(PIP) --require-hashes -r requirements/docs.txt
	@touch $@

$(BENCH_VENV)/.ready: requirements/bench.txt
	@python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) && "$$python" -m venv --clear $(BENCH_VENV)
	@echo "installing into $(BENCH_VENV)" >&2
	@$(BENCH_VENV)/bin/python $(PIP) --require-hashes -r requirements/bench.txt
	@touch $@

# Kafka Streams, a peer: Java.
$(STREAMS)/.ready: benchmarks/kafka-streams/pom.xml $(wildcard benchmarks/kafka-streams/src/main/java/bench/*.java)
	mvn --quiet --batch-mode --file benchmarks/kafka-streams/pom.xml package
	@touch $@

UV ?= uv
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	--custom-compile-command 'make requirements'

requirements: ## resolve requirements/*.txt anew (needs uv; UPGRADE=--upgrade takes newer versions)
	$(COMPILE) $(UPGRADE) requirements/build.in -o requirements/build.txt
	$(COMPILE) $(UPGRADE) pyproject.toml --extra ingest --extra rocksdb -o requirements/runtime.txt
	$(COMPILE) $(UPGRADE) pyproject.toml --all-extras -c requirements/runtime.txt -o requirements/local.txt
	$(COMPILE) $(UPGRADE) pyproject.toml --all-extras requirements/test.in \
		-c requirements/local.txt -c requirements/build.txt -o requirements/test.txt
	$(COMPILE) $(UPGRADE) requirements/lint.in -o requirements/lint.txt
	$(COMPILE) $(UPGRADE) requirements/compile.in \
		-c requirements/test.txt -c requirements/lint.txt -o requirements/compile.txt
	$(COMPILE) $(UPGRADE) requirements/mutate.in -o requirements/mutate.txt
	$(COMPILE) $(UPGRADE) requirements/deploy.in -o requirements/deploy.txt
	$(COMPILE) $(UPGRADE) requirements/bench.in -o requirements/bench.txt
	$(COMPILE) $(UPGRADE) requirements/docs.in -o requirements/docs.txt
	$(COMPILE) $(UPGRADE) requirements/release.in \
		-c requirements/compile.txt -c requirements/runtime.txt -o requirements/release.txt

clean: ## remove the environments and what tools left; data of the local Kafka stay
	rm -rf $(VENV) $(LINT_VENV) $(MUTATE_VENV) $(DEPLOY_VENV) $(BENCH_VENV) $(COMPILED_VENV) $(DOCS_VENV) $(RELEASE_VENV) $(STREAMS) .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis build dist
