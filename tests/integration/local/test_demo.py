"""`demo` shows the gate at work and leaves nothing behind."""

import asyncio
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from transfer_gate.kafka.session import open_session
from transfer_gate.settings import Settings

SMALL = ("--prospects", "500", "--transfers", "3000")


def remnants(folder: Path) -> list[str]:
    """Folders of a demo below `folder`, and processes that run in one."""
    found = [path.name for path in folder.glob("transfer-gate-demo-*")]
    for process in psutil.process_iter(["cmdline", "environ"]):
        command, environment = " ".join(process.info["cmdline"] or ()), process.info["environ"] or {}
        if str(folder) in command or environment.get("TRANSFER_GATE_DATA_DIR", "").startswith(str(folder)):
            found.append(command)
    return found


async def topics(settings: Settings) -> list[str]:
    """Topics of the cluster."""
    async with open_session(settings) as session:
        return list(await session.cluster.topics())


def test_the_demo_ends_with_its_proof_and_cleans_up(command: list[str], tmp_path: Path) -> None:
    """On a Kafka of its own: summary, three explained examples, verify, the count of leaks, what to try next."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    run = subprocess.run([*command, "demo", *SMALL], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "missing 0, duplicated 0, misrouted 0" in run.stdout
    leaks = re.search(r"withdrawals during the run: (\d+), releases after .* withdrawal: (\d+)", run.stdout)
    controls = re.search(r"who did not withdraw: (\d+) of (\d+) released", run.stdout)
    assert leaks is not None
    assert controls is not None
    assert (leaks[1], leaks[2]) == ("12", "0")
    assert controls[1] == controls[2] == "12"
    explained = run.stdout.partition("three of them explained")[2].partition("checks")[0]
    assert len(re.findall(r"^\S+ to \S+: .* held$", explained, flags=re.MULTILINE)) == 3
    assert re.findall(r"[+]33\d{3}", run.stdout) == []
    assert "what to try next" in run.stdout
    assert remnants(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "first"),
    [
        (signal.SIGINT, ()),
        (signal.SIGTERM, ()),
        pytest.param(signal.SIGTERM, ("sh", "-c", 'trap "" INT; exec "$@"', "sh"), id="SIGTERM, SIGINT ignored"),
    ],
)
def test_an_interrupted_demo_cleans_up(
    number: signal.Signals, first: tuple[str, ...], command: list[str], settings: Settings, tmp_path: Path
) -> None:
    """On a cluster of somebody's: the worker stops, the demo's topics go, exit code 130."""
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "TRANSFER_GATE_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
    }
    demo = [*first, *command, "demo", "--prospects", "500", "--transfers", "50000"]
    with subprocess.Popen(demo, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        prefix = ""
        for line in run.stderr:
            if found := re.search(r"topics of the demo: (\S+)\*", line):
                prefix = found[1]
            if "people changed their minds" in line:
                break
        run.send_signal(number)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert prefix
    assert [name for name in asyncio.run(topics(settings)) if name.startswith(prefix)] == []
    assert remnants(tmp_path) == []


def test_a_kept_demo_runs_on_until_it_is_stopped(command: list[str], settings: Settings, tmp_path: Path) -> None:
    """It prints what to set to look around, and how to stop; doctor finds a worker there."""
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "TRANSFER_GATE_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
    }
    run = subprocess.run(
        [*command, "demo", "--keep", *SMALL], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    pid = re.search(r"^  kill (\d+)$", run.stdout, flags=re.MULTILINE)
    assert pid is not None
    worker = psutil.Process(int(pid[1]))
    try:
        given = dict(re.findall(r"(TRANSFER_GATE_\w+)=(\S+)", run.stdout))
        doctor = [*command, "doctor", "--output", "json"]
        seen = subprocess.run(doctor, env={**os.environ, **given}, capture_output=True, text=True, check=False)
        lines = {line["check"]: line["found"] for line in json.loads(seen.stdout)["findings"]}
        assert lines["workers"].startswith("1 in group demo-")
    finally:
        worker.terminate()
        worker.wait(20)
