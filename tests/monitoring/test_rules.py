"""Debian's promtool and amtool accept what Prometheus and Alertmanager are given, and the cases hold."""

import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from deploy.monitoring.grafana.generate.boards import BOARDS

pytestmark = pytest.mark.monitoring

MONITORING: Final = Path(__file__).parents[2] / "deploy" / "monitoring"


def told_by(program: str, *arguments: str | Path) -> str:
    """Run it in the folder; what it says stands in the failure."""
    run = subprocess.run(
        [program, *map(str, arguments)],
        cwd=MONITORING,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_the_configuration_is_accepted_with_its_rules() -> None:
    told_by("promtool", "check", "config", "prometheus.yml")


@pytest.mark.parametrize(("severity", "receiver"), [("page", "on-call"), ("ticket", "tickets")])
def test_alerts_go_to_whom_they_are_for(severity: str, receiver: str) -> None:
    told_by("amtool", "check-config", "alertmanager.yml")
    routed = told_by("amtool", "config", "routes", "test", "--config.file=alertmanager.yml", f"severity={severity}")
    assert routed.split() == [receiver]


def test_no_rule_stands_twice_and_every_one_can_be_read() -> None:
    told_by("promtool", "check", "rules", "--lint=all", "--lint-fatal", *sorted((MONITORING / "rules").glob("*.yml")))


@pytest.mark.parametrize("cases", sorted((MONITORING / "tests").glob("*.yml")), ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_only_then(cases: Path) -> None:
    told_by("promtool", "test", "rules", cases)


def test_every_expression_of_the_dashboards_can_be_read(tmp_path: Path) -> None:
    """As recording rules, because that is what promtool reads."""
    exprs = [expr for board in BOARDS for row in board.rows for panel in row.panels for expr in panel.queries.values()]
    rules = [
        {"record": f"dashboard:{number}", "expr": expr.replace("$__rate_interval", "1m")}
        for number, expr in enumerate(exprs)
    ]
    file = tmp_path / "dashboards.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}), encoding="utf-8")
    told_by("promtool", "check", "rules", file)
