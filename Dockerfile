# transfer-gate as an image: hashed wheels only, no compiler, no pip, no root, nothing written outside DATA_DIR.
#
#   docker build -t transfer-gate:0.1.0 .
#
# Pin the base by digest in your own build (--build-arg BASE=python:3.13-slim-trixie@sha256:…).
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /build
# The hot path is compiled (docs/explanation/compiled.md). Any compiler of the distribution will do: it stays here.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY requirements/compile.txt requirements/runtime.txt requirements/
# Two environments: what builds the wheel does not go into the image. mypyc compiles with the types of the libraries.
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/compile.txt -r requirements/runtime.txt \
    && python -m venv /opt/transfer-gate \
    && /opt/transfer-gate/bin/pip install --require-hashes --only-binary :all: -r requirements/runtime.txt
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY examples examples
COPY src src
RUN HATCH_BUILD_HOOK_ENABLE_MYPYC=1 /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/transfer-gate/bin/pip install --no-deps dist/*.whl \
    && /opt/transfer-gate/bin/pip uninstall --yes pip

FROM ${BASE}
LABEL org.opencontainers.image.title="transfer-gate" \
      org.opencontainers.image.description="A streaming gatekeeper on Kafka: prospects reach partners only where French law lets them go" \
      org.opencontainers.image.licenses="Apache-2.0"
# Mount points, so that they exist when the root is read-only.
RUN install -d -m 0755 /etc/transfer-gate/registry/partners /etc/transfer-gate/registry/notices \
    && install -d -m 0700 -o 10001 -g 10001 /var/lib/transfer-gate
COPY --from=build /opt/transfer-gate /opt/transfer-gate
# Probes and Prometheus come from outside the container, so 0.0.0.0 here; who may reach it, the network decides.
ENV PATH=/opt/transfer-gate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TRANSFER_GATE_DATA_DIR=/var/lib/transfer-gate \
    TRANSFER_GATE_REGISTRY=/etc/transfer-gate/registry \
    TRANSFER_GATE_METRICS_HOST=0.0.0.0 \
    TRANSFER_GATE_METRICS_PORT=9464 \
    TRANSFER_GATE_LOG_FORMAT=json
# A number, because Kubernetes can't tell whether a name is root.
USER 10001:10001
# A `.env` is looked for here, where nobody can put one.
WORKDIR /etc/transfer-gate
VOLUME ["/var/lib/transfer-gate"]
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9464/healthz', timeout=2)"]
ENTRYPOINT ["transfer-gate"]
CMD ["worker"]
