"""`transfer-gate kafka start --brokers 3`: a cluster that starts, tells of itself, and stops as one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from transfer_gate.local.cluster import LocalCluster


@pytest.mark.long
def test_start_status_stop_of_a_cluster(command: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "TRANSFER_GATE_DATA_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, "kafka", *arguments], env=environment, capture_output=True, text=True, timeout=200, check=False
        )

    try:
        started = run("start", "--brokers", "3")
        assert started.returncode == 0, started.stderr
        servers = started.stdout.strip()
        assert len(servers.split(",")) == 3

        status = run("status", "--output", "json")
        facts = json.loads(status.stdout)
        assert (status.returncode, facts["ready"], facts["bootstrap_servers"]) == (0, True, servers)
        pids = [broker["pid"] for broker in facts["brokers"]]
        assert len(set(pids)) == 3

        psutil.Process(pids[1]).kill()
        gone = run("status")
        assert gone.returncode == 6
        assert "broker-2 does not run" in gone.stderr
        assert run("start", "--brokers", "1").returncode == 2

        again = run("start")
        assert (again.returncode, again.stdout.strip()) == (0, servers), again.stderr
        assert run("status").returncode == 0

        assert run("stop").returncode == 0
        assert not any(psutil.pid_exists(pid) for pid in pids)
    finally:
        LocalCluster(tmp_path / "kafka").stop()
