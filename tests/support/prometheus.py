"""A real Prometheus (Debian's package) that looks at one worker, with the project's own rules in a quicker rhythm."""

import contextlib
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from transfer_gate.local.loopback import free_port

RULES: Final = Path(__file__).parents[2] / "deploy" / "monitoring" / "rules"
#: Scrapes and evaluations in the test; in deploy/monitoring they are 15 s apart.
RHYTHM_SECONDS: Final = 1
#: `for` of TransferGateDown in the test, instead of a minute.
DOWN_FOR_SECONDS: Final = 5
_POLL_SECONDS: Final = 0.1


class Prometheus:
    """The server, and questions to it."""

    def __init__(self, port: int, log: Path) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._log = log

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Value of an expression now: a list of series."""
        found: list[dict[str, Any]] = self._ask("query", query=expr)["result"]
        return found

    def has_data(self, expr: str, since: float) -> bool:
        """Whether the expression had a number at any time `since` (Unix time)."""
        found = self._ask("query_range", query=expr, start=since, end=time.time(), step=RHYTHM_SECONDS)["result"]
        return any(value != "NaN" for series in found for _, value in series["values"])

    def state_of(self, alert: str, job: str) -> str:
        """`inactive`, `pending` or `firing`."""
        alerts = self._ask("alerts")["alerts"]
        states = [
            found["state"]
            for found in alerts
            if found["labels"]["alertname"] == alert and found["labels"]["job"] == job
        ]
        return states[0] if states else "inactive"

    def wait_until(self, holds: Callable[[], bool], what: str, patience: float = 60) -> float:
        """Ask again and again; returns the seconds waited."""
        began = time.monotonic()
        while True:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                if holds():
                    return time.monotonic() - began
            waited = time.monotonic() - began
            assert waited < patience, (
                f"not {what} after {waited:.0f} s:\n{self._log.read_text(encoding='utf-8')[-2000:]}"
            )
            time.sleep(_POLL_SECONDS)

    def _ask(self, what: str, **parameters: Any) -> dict[str, Any]:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - http, to a server of ours
            answer: dict[str, Any] = json.load(response)
        assert answer["status"] == "success", answer
        found: dict[str, Any] = answer["data"]
        return found


@contextlib.contextmanager
def watching(target: str, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with `target` (host:port) as the one worker, until the block ends."""
    port, log = free_port(), folder / "prometheus.log"
    command = [
        "prometheus",
        f"--config.file={_configuration(target, folder)}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with log.open("wb") as file:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    try:
        prometheus = Prometheus(port, log)
        prometheus.wait_until(lambda: bool(prometheus.query("up")), "looking at the worker")
        yield prometheus
    finally:
        server.terminate()
        server.wait()


def _configuration(target: str, folder: Path) -> Path:
    for file in RULES.glob("*.yml"):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        for group in content["groups"]:
            group["interval"] = f"{RHYTHM_SECONDS}s"
            for rule in group["rules"]:
                if rule.get("alert") == "TransferGateDown":
                    rule["for"] = f"{DOWN_FOR_SECONDS}s"
        (folder / file.name).write_text(yaml.safe_dump(content), encoding="utf-8")
    configuration = {
        "global": {"scrape_interval": f"{RHYTHM_SECONDS}s", "scrape_timeout": f"{RHYTHM_SECONDS}s"},
        "rule_files": [str(folder / file.name) for file in RULES.glob("*.yml")],
        "scrape_configs": [{"job_name": "transfer-gate", "static_configs": [{"targets": [target]}]}],
    }
    place = folder / "prometheus.yml"
    place.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    return place
