"""Real workers as processes of their own, to be killed, frozen and stopped; and the installation they belong to."""

import asyncio
import copy
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import orjson
import psutil

from transfer_gate.local.loopback import free_port
from transfer_gate.model.topics import Topics

#: A program that breaks one thing in the gate and then starts it: proof that the tests can fail. They are run, never
#: imported, because what they break would stay broken in the test process.
Launcher = Literal[
    "without_barrier",
    "with_stable_offset_barrier",
    "without_transactions",
    "with_a_rule_that_raises",
    "with_defects",
    "with_settable_clock",
    "with_slow_restore",
    "with_busy_loop",
    "without_running_epochs",
    "with_notices_apart",
]

#: For a condition that normally holds within a few seconds; the machine may be busy with other things.
PATIENCE: Final = 60.0
#: Gates that leak, double or stall on purpose: a suite that does not notice them proves nothing.
BROKEN_GATES: Final = Path(__file__).parents[1] / "broken_gates"
_TAIL: Final = 3000


class Worker:
    """One process of `transfer-gate worker`. What it logs stays in `log`."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path, port: int) -> None:
        """Start it."""
        self.log = log
        self.ended_by_us = False
        #: Host and port of its metrics.
        self.address = f"127.0.0.1:{port}"
        self._url = f"http://{self.address}"
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
            )

    @property
    def name(self) -> str:
        """For messages: the name of the log file."""
        return self.log.stem

    @property
    def running(self) -> bool:
        """Whether the process exists, frozen or not."""
        return self._process.poll() is None

    @property
    def peak_bytes(self) -> int:
        """Most memory that the process ever held since its exec (VmHWM)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10

    @property
    def resident_bytes(self) -> int:
        """Memory that the process holds (RSS)."""
        memory: int = psutil.Process(self._process.pid).memory_info().rss
        return memory

    def kill(self) -> None:
        """SIGKILL, as a crash of the machine; returns when the process is gone."""
        self.ended_by_us = True
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it neither works nor heartbeats, and does not know."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def limit(self, resource: int, most: int) -> None:
        """Set a limit of the operating system (RLIMIT_...) on the running process."""
        process = psutil.Process(self._process.pid)
        _, hard = process.rlimit(resource)
        process.rlimit(resource, (most, hard))

    async def terminate(self, patience: float = PATIENCE) -> tuple[int, float]:
        """SIGTERM; returns the exit code and how many seconds the stop took."""
        self.ended_by_us = True
        began = time.monotonic()
        self._process.terminate()
        code = await asyncio.to_thread(self._process.wait, patience)
        return code, time.monotonic() - began

    async def ended(self, patience: float = PATIENCE) -> int:
        """Wait until it has ended by itself, as a test expects; returns the exit code."""
        code = await asyncio.to_thread(self._process.wait, patience)
        self.ended_by_us = True
        return code

    def answers(self, path: str) -> str | None:
        """The body of a 200 at this path of the metrics port within two seconds, else None."""
        return self._get(path)

    @property
    def ready(self) -> bool:
        """Whether `/readyz` says that every assigned partition decides."""
        return self._get("/readyz") is not None

    async def until_ready(self, patience: float = PATIENCE) -> float:
        """Wait until it is ready; returns the seconds waited."""
        return await self.until(lambda: self.ready, "ready", patience)

    async def until(self, holds: Callable[[], bool], what: str, patience: float = PATIENCE) -> float:
        """Wait until `holds`, asked in a thread; returns the seconds waited. Raises AssertionError when it does not."""
        began = time.monotonic()
        while not await asyncio.to_thread(holds):
            assert self.running, f"{self.name} ended by itself before it was {what}:\n{self.tail()}"
            waited = time.monotonic() - began
            assert waited < patience, f"{self.name} is not {what} after {waited:.0f} s:\n{self.tail()}"
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels; 0 when the worker does not answer."""
        return sum(self.metric_by_labels(name).values())

    def metric_by_labels(self, name: str) -> dict[str, float]:
        """A metric by its labels, as they are written; empty when the worker does not answer."""
        lines = (self._get("/metrics") or "").splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if line.startswith((f"{name} ", f"{name}{{")))
        return {labels: float(value) for labels, value in samples}

    def metrics_page(self) -> str:
        """All that it answers at `/metrics`."""
        page = self._get("/metrics")
        assert page, f"{self.name} does not answer"
        return page

    def tail(self) -> str:
        """The end of its log, for a message."""
        return f"--- {self.log.name} ---\n" + self.log.read_text(encoding="utf-8", errors="replace")[-_TAIL:]

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(self._url + path, timeout=2) as response:  # noqa: S310 - http, to a worker of ours
                body: bytes = response.read()
                return body.decode()
        except (urllib.error.URLError, OSError):
            return None


class Installation:
    """One gate on a cluster: a topic prefix and an app id of its own, a registry, and the workers started for it."""

    def __init__(self, bootstrap_servers: str, registry: Path, folder: Path, **settings: Any) -> None:
        """Nothing is started. `settings` are TRANSFER_GATE_ settings in lower case; `folder` takes logs and state."""
        name = f"faults-{secrets.token_hex(5)}"
        self.bootstrap_servers = bootstrap_servers
        self.folder = folder
        self.topics = Topics(f"{name}.", name)
        self.app_id = name
        self.partitions = int(settings.setdefault("partitions", 4))
        self.workers: list[Worker] = []
        given = {
            "bootstrap_servers": bootstrap_servers,
            "security_protocol": "PLAINTEXT",  # of TRANSFER_GATE_TEST_BOOTSTRAP_SERVERS too
            "topic_prefix": f"{name}.",
            "app_id": name,
            "registry": registry,
            **settings,
        }
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("TRANSFER_GATE_")}
        self._environment = inherited | {f"TRANSFER_GATE_{key.upper()}": str(value) for key, value in given.items()}

    def apply_topics(self) -> None:
        """Create the topics."""
        code, _, errors = self.run("topics", "apply")
        assert code == 0, f"topics apply failed: {errors}"

    def start_worker(
        self,
        launcher: Launcher | None = None,
        data_of: int | None = None,
        arguments: Sequence[str] = (),
        **settings: object,
    ) -> Worker:
        """Start one more worker, plain or through a launcher, with `settings` in place of those of the others.
        `data_of`: on the data folder of this earlier worker; `arguments`: of its command.
        """
        number, port = len(self.workers), free_port()
        program = ["-m", "transfer_gate"]
        if launcher is not None:
            program = [str(BROKEN_GATES / f"{launcher}.py")]
        command = [sys.executable, *program, "worker", *arguments]
        environment = self._environment | {
            "TRANSFER_GATE_METRICS_PORT": str(port),
            "TRANSFER_GATE_DATA_DIR": str(self.folder / f"data-{number if data_of is None else data_of}"),
            "CLOCK_FILE": str(self.folder / f"clock-{number}"),
        }
        environment |= {f"TRANSFER_GATE_{name.upper()}": str(value) for name, value in settings.items()}
        worker = Worker(command, environment, self.folder / f"worker-{number}.log", port)
        self.workers.append(worker)
        return worker

    @property
    def running(self) -> list[Worker]:
        """Workers that run."""
        return [worker for worker in self.workers if worker.running]

    def assert_none_gave_up(self) -> None:
        """A worker that nobody ended must still be there: whatever happens around it, it goes on."""
        gone = [worker for worker in self.workers if not worker.running and not worker.ended_by_us]
        assert not gone, "ended by itself:\n" + "\n".join(worker.tail() for worker in gone)

    def verify(self, wait_seconds: float = PATIENCE) -> tuple[int, dict[str, int]]:
        """Exit code and counts of `transfer-gate verify --json`."""
        code, output, errors = self.run("verify", "--json", "--wait", str(wait_seconds))
        assert output.startswith("{"), f"verify said: {errors}"
        counts: dict[str, int] = orjson.loads(output)
        return code, counts

    def audit(self, *options: str) -> tuple[int, dict[str, int], str]:
        """Exit code, counts and messages of `transfer-gate audit --json`."""
        code, output, errors = self.run("audit", "--json", *options)
        assert output.startswith("{"), f"audit said: {errors}"
        counts: dict[str, int] = orjson.loads(output)
        return code, counts, errors

    def under(self, registry: Path) -> "Installation":
        """The same topics seen with another registry; no worker is started."""
        other = copy.copy(self)
        other.workers = []
        other._environment = self._environment | {"TRANSFER_GATE_REGISTRY": str(registry)}
        return other

    def start_auditor(self) -> Worker:
        """Start `transfer-gate audit --follow`."""
        port = free_port()
        auditor = Worker(
            [sys.executable, "-m", "transfer_gate", "audit", "--follow"],
            self._environment | {"TRANSFER_GATE_METRICS_PORT": str(port)},
            self.folder / f"auditor-{len(self.workers)}.log",
            port,
        )
        self.workers.append(auditor)
        return auditor

    def tails(self) -> str:
        """The ends of all logs, for a message."""
        return "\n".join(worker.tail() for worker in self.workers)

    def close(self) -> None:
        """End every worker that still runs."""
        for worker in self.running:
            worker.thaw()
            worker.kill()

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command of this installation."""
        command = [sys.executable, "-m", "transfer_gate", *arguments]
        run = subprocess.run(
            command, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        return run.returncode, run.stdout, run.stderr
