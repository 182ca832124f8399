"""Debian's promtool accepts what Prometheus is given, and its cases hold."""

import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from deploy.monitoring.grafana.generate.boards import BOARDS

pytestmark = pytest.mark.monitoring

MONITORING: Final = Path(__file__).parents[2] / "deploy" / "monitoring"


def promtool(*arguments: str | Path) -> None:
    """Run it in the folder; what it says stands in the failure."""
    run = subprocess.run(
        ["promtool", *map(str, arguments)],
        cwd=MONITORING,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_configuration_is_accepted_with_its_rules() -> None:
    promtool("check", "config", "prometheus.yml")


def test_no_rule_stands_twice_and_every_one_can_be_read() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", *sorted((MONITORING / "rules").glob("*.yml")))


@pytest.mark.parametrize("cases", sorted((MONITORING / "tests").glob("*.yml")), ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_only_then(cases: Path) -> None:
    promtool("test", "rules", cases)


def test_every_expression_of_the_dashboards_can_be_read(tmp_path: Path) -> None:
    """As recording rules, because that is what promtool reads."""
    exprs = [expr for board in BOARDS for row in board.rows for panel in row.panels for expr in panel.queries.values()]
    rules = [
        {"record": f"dashboard:{number}", "expr": expr.replace("$__rate_interval", "1m")}
        for number, expr in enumerate(exprs)
    ]
    file = tmp_path / "dashboards.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}), encoding="utf-8")
    promtool("check", "rules", file)
