"""What users install, as they install it: each wheel of dist/ in an empty environment, without the repository.

`make check-install` builds what is in dist/ and runs this; packages come from the index, by the ranges of the wheel.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

import pytest

from tests.support.clients import open_producer, read_all
from transfer_gate import __version__
from transfer_gate.local.loopback import free_port

pytestmark = pytest.mark.install
DIST: Final = Path(__file__).parents[2] / "dist"
_PATIENCE: Final = 120.0


def wheel(kind: str) -> Path:
    """The wheel of this version in dist/: `pure`, or `compiled` for this machine."""
    found = [
        path
        for path in DIST.glob(f"transfer_gate-{__version__}-*.whl")
        if path.name.endswith("-none-any.whl") is (kind == "pure")
    ]
    assert len(found) == 1, f"run `make wheels`: {found}"
    return found[0]


class Installed:
    """A wheel in an environment of its own, and a folder in which its commands are run."""

    def __init__(self, kind: str, folder: Path, settings: dict[str, str]) -> None:
        """Install it; `settings` are TRANSFER_GATE_ settings."""
        self.kind = kind
        self.folder = folder
        bin_folder = folder / "venv" / "bin"
        # Nothing of the environment in which the tests run: neither its packages nor the sources.
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        self.environment = clean | settings | {"PATH": f"{bin_folder}:{os.environ['PATH']}"}
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        pip = [str(bin_folder / "python"), "-m", "pip", "install", "--quiet", "--no-input", str(wheel(kind))]
        subprocess.run(pip, check=True, env=self.environment, cwd=folder)

    def run(self, *command: str, within: str = ".") -> subprocess.CompletedProcess[str]:
        """A finished command; stdout and stderr as text."""
        place = self.folder / within
        return subprocess.run(command, env=self.environment, cwd=place, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", params=["pure", "compiled"])
def installed(
    request: pytest.FixtureRequest, bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    folder = tmp_path_factory.mktemp(request.param)
    name = f"wheel-{request.param}-{os.getpid()}"
    settings = {
        "BOOTSTRAP_SERVERS": bootstrap_servers,
        "SECURITY_PROTOCOL": "PLAINTEXT",
        "TOPIC_PREFIX": f"{name}-",
        "APP_ID": name,
        "METRICS_PORT": str(free_port()),
    }
    return Installed(request.param, folder, {f"TRANSFER_GATE_{key}": value for key, value in settings.items()})


def test_the_quick_start_decides(installed: Installed) -> None:
    """As the README has it: init, check, topics apply, doctor, worker, two transfers."""
    word = "compiled" if installed.kind == "compiled" else "interpreted"
    assert installed.run("transfer-gate", "--version").stdout == f"transfer-gate, version {__version__} ({word})\n"
    assert installed.run("transfer-gate", "init", "gate").returncode == 0
    settings = installed.folder / "gate" / ".env"
    settings.write_text(settings.read_text(encoding="utf-8").replace("PARTITIONS=12", "PARTITIONS=2"))
    checked = installed.run("sh", "check.sh", within="gate")
    assert checked.returncode == 0, checked.stderr
    applied = installed.run("transfer-gate", "topics", "apply", within="gate")
    assert applied.returncode == 0, applied.stderr
    examined = installed.run("transfer-gate", "doctor", within="gate")
    assert f"the decision is {word}" in examined.stdout
    assert "FAIL" not in examined.stdout, examined.stdout
    asyncio.run(_decide(installed))
    explained = installed.run("transfer-gate", "quarantine", "list", "--output", "json", within="gate")
    assert "not-withdrawn" in explained.stdout, explained.stderr


async def _decide(installed: Installed) -> None:
    """Start the worker, send the samples, and wait for what they become; the worker ends with 0 on SIGTERM."""
    environment, folder = installed.environment, installed.folder / "gate"
    prefix, brokers = environment["TRANSFER_GATE_TOPIC_PREFIX"], environment["TRANSFER_GATE_BOOTSTRAP_SERVERS"]
    worker = await asyncio.create_subprocess_exec("transfer-gate", "worker", env=environment, cwd=folder)
    try:
        async with open_producer(brokers) as producer:
            for topic in ("consent-events", "prospect-transfers"):
                for line in (folder / "samples" / f"{topic}.tsv").read_bytes().splitlines():
                    key, value = line.split(b"\t")
                    await producer.send_and_wait(prefix + topic, value, key=key)
        async with asyncio.timeout(_PATIENCE):
            while True:
                assert worker.returncode is None, "the worker ended by itself"
                topics = [f"{prefix}partner.example-partner", f"{prefix}transfers-quarantine"]
                found = {r.topic: r async for r in read_all(brokers, topics, 2)}
                if len(found) == len(topics):
                    break
                await asyncio.sleep(0.2)
        assert json.loads(found[topics[0]].value or b"")["prospect_id"] == "sample-1"
        assert found[topics[1]].key == b"sample-2"
    finally:
        if worker.returncode is None:
            worker.send_signal(signal.SIGTERM)
        code = await worker.wait()
    assert code == 0


def test_the_source_distribution_builds_the_pure_wheel(tmp_path: Path) -> None:
    """For platforms without a wheel of their own."""
    (source,) = DIST.glob(f"transfer_gate-{__version__}.tar.gz")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*command, tmp_path, source], check=True, cwd=tmp_path)
    (built,) = tmp_path.glob("*.whl")
    assert built.name == wheel("pure").name
    with zipfile.ZipFile(built) as one, zipfile.ZipFile(wheel("pure")) as other:
        assert set(one.namelist()) == set(other.namelist())
    with tarfile.open(source) as packed:
        assert not [name for name in packed.getnames() if "/.venv" in name or name.endswith(".so")]
