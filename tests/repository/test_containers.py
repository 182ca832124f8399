"""Dockerfile and docker-compose.yml: nobody is root, nothing listens beyond loopback, every secret is a file."""

import fnmatch
import json
import re
from typing import Any, Final

import pytest
import yaml

from tests.support.deployment import COMPOSE, PREFIX, ROOT, compose, dockerfile, image_environment
from transfer_gate.cli import COMMANDS
from transfer_gate.settings import load_settings

SERVICES: Final = compose()
#: Services of the gate's own image.
OURS: Final = sorted(name for name, service in SERVICES.items() if service.get("build"))
#: How settings end that name a file with a secret, or a folder of such files.
FILES: Final = ("FILE", "INGEST_SECRETS")
#: Ends when its work is done.
ONE_SHOT: Final = "topics"


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", dockerfile(), flags=re.MULTILINE)


def test_the_services_are_there() -> None:
    wanted = "kafka topics worker auditor ingest prometheus alertmanager grafana kafka-ui"
    assert set(SERVICES) == set(wanted.split())
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["ingest", "kafka-ui"]
    assert SERVICES["worker"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_the_gate_runs_a_command_with_settings_that_exist(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SERVICES[name]["command"][0] in COMMANDS
    for setting, value in {**image_environment(), **SERVICES[name]["environment"]}.items():
        monkeypatch.setenv(setting, str(value))
    assert load_settings(None).metrics_port == 9464


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_on_the_loopback_address_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))
    assert "network_mode" not in SERVICES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_nothing_that_it_need_not(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc"} & set(service)
    # The entry point of Kafka's image writes its configuration into its own folder.
    assert service.get("read_only", False) is (name != "kafka")


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned(name: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+$", SERVICES[name]["image"])


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {ONE_SHOT}))
def test_a_service_that_stays_says_whether_it_is_well(name: str) -> None:
    """Those of the gate's own image by the image."""
    assert "test" in SERVICES[name].get("healthcheck", {}) or (name in OURS and instructions("HEALTHCHECK"))


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_mounts_exists_and_is_read_only_or_its_own_volume(name: str) -> None:
    whole: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    for mount in SERVICES[name].get("volumes", ()):
        source, _, rest = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", mount).partition(":")
        if source in whole["volumes"]:
            continue
        assert (ROOT / source).exists()
        assert rest.endswith(":ro")


def test_prometheus_finds_the_services_that_it_scrapes_and_the_one_that_it_tells() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "monitoring" / "prometheus.yml").read_text(encoding="utf-8"))
    scraped = {name for job in config["scrape_configs"] for sd in job["dns_sd_configs"] for name in sd["names"]}
    assert scraped == {"worker", "auditor", "ingest"}
    jobs = {"transfer-gate", "transfer-gate-audit", "transfer-gate-ingest"}
    assert {job["job_name"] for job in config["scrape_configs"]} == jobs
    (target,) = config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert target.partition(":")[0] in SERVICES


def test_what_waits_for_another_waits_for_one_that_is_well_or_done() -> None:
    conditions = {
        (name, other): waits["condition"]
        for name, service in SERVICES.items()
        for other, waits in service.get("depends_on", {}).items()
    }
    assert conditions["topics", "kafka"] == "service_healthy"
    assert {conditions[name, "topics"] for name in ("worker", "auditor", "ingest")} == {
        "service_completed_successfully"
    }


def test_secrets_are_files_that_the_script_makes() -> None:
    whole: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    script = (ROOT / "deploy" / "compose" / "secrets.sh").read_text(encoding="utf-8")
    for name, secret in whole["secrets"].items():
        assert secret == {"file": f"./deploy/compose/secrets/{name}"}
        assert f"new {name} " in script
    used = {name for service in SERVICES.values() for name in service.get("secrets", ())}
    assert used == set(whole["secrets"])
    assert "deploy/compose/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_only_the_worker_and_who_runs_commands_have_the_key_of_quarantine() -> None:
    holders = [name for name, service in SERVICES.items() if "quarantine-keys" in service.get("secrets", ())]
    assert holders == ["topics", "worker"]
    assert SERVICES["worker"]["environment"][f"{PREFIX}QUARANTINE_KEY_FILE"] == "/run/secrets/quarantine-keys"


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_stands_in_the_environment(name: str) -> None:
    given = SERVICES[name].get("environment", {})
    suspect = [key for key in given if re.search(r"PASSWORD|SECRET|TOKEN|_KEY\b", key) and not key.endswith(FILES)]
    assert suspect == []


def test_the_image_runs_as_a_numbered_user_that_is_not_root() -> None:
    (user,) = instructions("USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    data = next(line for line in SERVICES["worker"]["tmpfs"] if line.startswith("/var/lib/transfer-gate:"))
    assert "uid={},gid={}".format(*user.split(":")) in data


def test_the_image_starts_the_worker_without_a_shell_so_that_it_gets_sigterm() -> None:
    assert [json.loads(one) for one in instructions("ENTRYPOINT") + instructions("CMD")] == [
        ["transfer-gate"],
        ["worker"],
    ]
    (health,) = instructions("HEALTHCHECK")
    assert "127.0.0.1:9464/healthz" in health


def test_everything_in_the_image_is_hashed_and_both_stages_have_the_same_python() -> None:
    installs = re.findall(r"pip install ([^&\n]*)", dockerfile())
    assert all(
        "--require-hashes --only-binary :all: -r requirements/" in one or "--no-deps dist/" in one for one in installs
    )
    assert len(installs) == 3
    assert instructions("FROM") == ["${BASE} AS build", "${BASE}"]
    (base,) = instructions("ARG")
    assert re.fullmatch(r"BASE=python:3\.1\d-slim-\w+", base)


def test_only_what_the_image_copies_gets_into_its_build() -> None:
    """A secret or a `.env` beside the Dockerfile stays out of every layer."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {source for one in instructions("COPY") if "--from" not in one for source in one.split()[:-1]}
    assert let_in == copied
    assert all((ROOT / source).exists() for source in copied)
    assert not any(fnmatch.fnmatch(".env", rule) for rule in let_in)
