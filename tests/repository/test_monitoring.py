"""What Prometheus and Grafana are given fits the metrics that exist; `make check-monitoring` tries it out."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.monitoring.grafana.generate.boards import BOARDS, FOLDER, files
from transfer_gate.kafka.catalogue import catalogue
from transfer_gate.model.topics import Topics
from transfer_gate.observe.metrics import CATALOGUE
from transfer_gate.registry import load_registry

ROOT: Final = Path(__file__).parents[2]
MONITORING: Final = ROOT / "deploy" / "monitoring"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
#: What every Prometheus client and Prometheus itself adds.
STANDARD: Final = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "up",
}
#: Strings, label lists, functions with their brackets, and other words of PromQL that are no metric.
_QUOTED: Final = re.compile(r'"[^"]*"')
_LABELS: Final = re.compile(r"\b(by|on|group_left|without|ignoring)\s*\([^)]*\)|\{[^}]*\}|\[[^\]]*\]")
_WORD: Final = re.compile(r"\b[a-zA-Z_:][a-zA-Z0-9_:]*\b(?!\s*\()")


def rules() -> list[dict[str, Any]]:
    """Every rule, in order of the files."""
    read = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted((MONITORING / "rules").glob("*.yml"))]
    return [rule for content in read for group in content["groups"] for rule in group["rules"]]


ALERTS: Final = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED: Final = {rule["record"] for rule in rules() if "record" in rule}


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and what it says."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for board in BOARDS:
        for row in board.rows:
            for panel in row.panels:
                for expr in panel.queries.values():
                    yield f"{board.title}: {panel.title}", expr


def metrics_in(expr: str) -> set[str]:
    """Names of metrics in an expression."""
    words = set(_WORD.findall(_LABELS.sub(" ", _QUOTED.sub(" ", expr))))
    return words - {"and", "or", "unless", "by"}


def known() -> set[str]:
    """Every name that a query may ask for."""
    names = STANDARD | RECORDED
    for metric in CATALOGUE:
        if metric.kind == "histogram":
            names |= {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
        else:
            names.add(metric.name)
    return names


def test_the_committed_dashboards_are_what_the_code_writes() -> None:
    written = {file: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.json")}
    assert written == files(), "write them anew: python -m deploy.monitoring.grafana.generate"


def test_every_query_of_the_dashboards_is_in_their_files() -> None:
    """So that checking the expressions of the code checks what Grafana gets."""
    found = set()
    for content in files().values():
        for panel in json.loads(content)["panels"]:
            found |= {target["expr"] for target in panel.get("targets", ())}
    assert found == {expr for board in BOARDS for row in board.rows for panel in row.panels for expr in
                     panel.queries.values()}  # fmt: skip


@pytest.mark.parametrize(("place", "expr"), list(expressions()))
def test_every_expression_asks_for_metrics_that_exist(place: str, expr: str) -> None:
    asked = metrics_in(expr)
    assert asked, f"{place} asks for nothing"
    assert asked <= known(), f"{place} asks for what nobody exports"


def test_a_misspelt_metric_would_be_found() -> None:
    assert metrics_in('sum by (le) (rate(transfer_gate_latncy_seconds_bucket{a="up"}[5m])) > 0') == {
        "transfer_gate_latncy_seconds_bucket"
    }


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    assert {f"{alert}.md" for alert in ALERTS} == {file.name for file in RUNBOOKS.glob("*.md")}
    for alert, rule in ALERTS.items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{alert}.md"
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert (RUNBOOKS / f"{alert}.md").read_text(encoding="utf-8").startswith(f"# {alert}\n")


def test_the_links_of_the_runbooks_lead_somewhere() -> None:
    for file in RUNBOOKS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", file.read_text(encoding="utf-8")):
            assert (RUNBOOKS / link).exists(), f"{file.name}: {link}"


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_never_does() -> None:
    """promtool runs them (`make check-monitoring`)."""
    fires: set[str] = set()
    silent: set[str] = set()
    for file in (MONITORING / "tests").glob("*.yml"):
        for case in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]:
            checks = case["alert_rule_test"]
            alerts = {check["alertname"] for check in checks}
            assert len(alerts) == 1, f"{case['name']}: one alert a case"
            (fires if any(check["exp_alerts"] for check in checks) else silent).update(alerts)
    assert fires == set(ALERTS)
    assert silent == set(ALERTS)


def test_open_quarantine_is_told_while_a_fifth_of_its_retention_is_left() -> None:
    """The expression carries the retention of the catalogue, which it can't ask for."""
    registry = load_registry(ROOT / "examples" / "registry")
    (topic,) = [
        spec for spec in catalogue(Topics(), registry, partitions=4, replication=1) if spec.role == "quarantine"
    ]
    days = int(topic.configs["retention.ms"]) // 86_400_000
    assert f"> {days * 4 // 5} * 86400" in ALERTS["TransferGateQuarantineExpiring"]["expr"]


def test_what_is_scraped_is_there_under_the_names_that_alerts_ask_for() -> None:
    """In docker-compose by the names of services, in Kubernetes by a label of theirs."""
    scraped = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    assert {name for job in scraped for found in job["dns_sd_configs"] for name in found["names"]} <= set(services)
    kubernetes = ROOT / "deploy" / "kubernetes"
    files = [*(kubernetes / "base").glob("*-service.yaml"), kubernetes / "components" / "ingest" / "service.yaml"]
    labels = [yaml.safe_load(file.read_text(encoding="utf-8"))["metadata"]["labels"] for file in files]
    jobs = {job["job_name"] for job in scraped}
    assert jobs == {label for found in labels if (label := found.get("transfer-gate/job"))}
    asked = {
        job for _, expr in expressions() for found in re.findall(r'job=~?"([^"]+)"', expr) for job in found.split("|")
    }
    assert asked == jobs
