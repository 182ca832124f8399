"""`doctor` on a real broker: every line says how it is and what to do."""

import json
import os
import subprocess

from transfer_gate.doctor import Finding, examine
from transfer_gate.kafka.session import open_session
from transfer_gate.kafka.topics import apply_topics
from transfer_gate.model.registry import Registry
from transfer_gate.settings import Settings


def failed(findings: tuple[Finding, ...]) -> list[str]:
    """Checks that failed."""
    return [finding.check for finding in findings if finding.status == "FAIL"]


async def test_a_healthy_installation_has_no_failed_check(settings: Settings, registry: Registry) -> None:
    """Every part is looked at, and what is not in order says what to do."""
    await apply_topics(settings, registry)
    findings, answered = await examine(settings)
    assert answered
    assert failed(findings) == []
    assert {"python", "libraries", "settings", "registry", "broker", "kafka", "topics", "clock"} <= {
        finding.check for finding in findings
    }
    assert all(finding.do for finding in findings if finding.status != "ok")


async def test_the_clock_is_compared_with_the_controllers(settings: Settings) -> None:
    """The broker of the tests shares this machine's clock, so the measured offset is within its own uncertainty."""
    async with open_session(settings) as session:
        reading = await session.cluster.clock()
    assert reading is not None
    assert abs(reading.offset) <= reading.uncertainty + 0.05
    assert reading.uncertainty < 5


async def test_missing_topics_fail_and_name_the_remedy(settings: Settings) -> None:
    """Before `topics apply`."""
    findings, _ = await examine(settings)
    assert failed(findings) == ["topics"]
    assert "topics apply" in next(finding.do for finding in findings if finding.check == "topics")


def test_the_command_answers_with_documented_exit_codes(command: list[str], environment: dict[str, str]) -> None:
    """1 when a check fails, 6 without a broker: and then the other lines are still there."""

    def run(**changes: str) -> subprocess.CompletedProcess[str]:
        given = {**os.environ, **environment, **changes}
        return subprocess.run(
            [*command, "doctor", "--output", "json"], env=given, capture_output=True, text=True, check=False
        )

    incomplete = run()
    assert incomplete.returncode == 1, incomplete.stderr
    assert "FAIL" in {line["status"] for line in json.loads(incomplete.stdout)["findings"]}
    alone = run(TRANSFER_GATE_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert alone.returncode == 6
    lines = {line["check"]: line["status"] for line in json.loads(alone.stdout)["findings"]}
    assert (lines["broker"], lines["registry"]) == ("FAIL", "ok")
    assert "Traceback" not in incomplete.stderr + alone.stderr
