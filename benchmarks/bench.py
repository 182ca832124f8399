"""What all measurements share: one local Kafka, topics, and processes that are looked at from outside."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import orjson
import psutil
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import NotLeaderForPartitionError
from aiokafka.structs import TopicPartition

from benchmarks.events import Events
from benchmarks.figures import Reading
from transfer_gate.kafka.topics import apply_topics
from transfer_gate.local.kafka import LocalKafka
from transfer_gate.local.loopback import free_port
from transfer_gate.registry import load_registry
from transfer_gate.settings import PREFIX, Settings

PARTITIONS: Final = 4
ROOT: Final = Path(__file__).parents[1]
#: Its own environment: confluent-kafka, quixstreams, matplotlib.
BENCH_PYTHON: Final = ROOT / ".venv-bench" / "bin" / "python"
LOOK_SECONDS: Final = 0.05


class Process:
    """A process under measurement, or one that helps; its output is in a file beside its data."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        with log.open("wb") as file:
            self._popen = subprocess.Popen(
                command, env=kept | {"PYTHONPATH": str(ROOT)} | dict(environment), cwd=log.parent,
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
        self.log = log
        self._usage = psutil.Process(self._popen.pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        times = self._usage.cpu_times()
        return times.user + times.system

    def resident(self) -> int:
        """Resident memory, bytes."""
        return int(self._usage.memory_info().rss)

    def check(self) -> None:
        """Raises RuntimeError with the end of the log when the process has ended."""
        if self._popen.poll() is not None:
            raise RuntimeError(f"{self.log.name} ended: {self.log.read_text(errors='replace')[-2000:]}")

    def wait(self, seconds: float) -> None:
        """Until it ends by itself. Raises RuntimeError when it fails or takes longer."""
        if self._popen.wait(seconds):
            self.check()

    def stop(self) -> None:
        """Ask it to end; by force after a while."""
        self._popen.terminate()
        try:
            self._popen.wait(12)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Ended(NamedTuple):
    """What a command printed, and what it took."""

    output: bytes
    seconds: float
    peak_mib: float


def _run(settings: Settings, arguments: Sequence[str]) -> Ended:
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "transfer_gate", *arguments],
        env=os.environ | _environment(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"transfer-gate {' '.join(arguments)} ended with {process.returncode}")
    return Ended(output, time.monotonic() - began, used.ru_maxrss / 1024)


def _environment(settings: Settings) -> dict[str, str]:
    return {
        f"{PREFIX}{key}".upper(): str(value.absolute() if isinstance(value, Path) else value)
        for key, value in settings.model_dump(exclude_none=True).items()
    }


class Bench:
    """One broker for a whole run, and a folder that is gone afterwards."""

    def __init__(self, kafka: LocalKafka, folder: Path) -> None:
        self.kafka = kafka
        self.folder = folder
        self.bootstrap_servers = kafka.bootstrap_servers
        #: Whether the broker has done the work of its first minute, in which Java compiles it: latencies fall fourfold.
        self.warm = False

    def settings(self, name: str, events: Events, prefix: str, **more: Any) -> Settings:
        """One installation of the gate: topics under `prefix`, group and changelog under `name`."""
        return Settings(
            _env_file=None,  # type: ignore[call-arg]  # pydantic's mypy plugin does not know it
            bootstrap_servers=self.bootstrap_servers,
            app_id=name,
            topic_prefix=prefix,
            registry=events.registry,
            data_dir=self.folder / name,
            metrics_port=free_port(),
            partitions=PARTITIONS,
            replication=1,
            **more,
        )

    def broker_cpu_seconds(self) -> float:
        """User and system time of the broker so far."""
        times = psutil.Process(self.kafka.pid).cpu_times()
        return float(times.user + times.system)

    def worker(self, settings: Settings, name: str = "worker") -> Process:
        """`transfer-gate worker` under these settings."""
        command = [sys.executable, "-m", "transfer_gate", "worker"]
        return Process(command, _environment(settings), settings.data_dir / f"{name}.log")

    async def command(self, settings: Settings, *arguments: str) -> Ended:
        """Run `transfer-gate` with these arguments to its end. Raises RuntimeError when it fails."""
        return await asyncio.to_thread(_run, settings, arguments)

    async def topics_of(self, settings: Settings) -> None:
        """Create what an installation needs. What others have decided there is deleted: a group without notes that
        finds it decides nothing of that once more.
        """
        await apply_topics(settings, load_registry(settings.registry))
        async with self._admin() as admin:
            places = [TopicPartition(settings.topics.decisions, number) for number in range(PARTITIONS)]
            async with asyncio.timeout(10):
                while True:
                    # The leader of a new topic may not know yet that it is.
                    with contextlib.suppress(NotLeaderForPartitionError):
                        await admin.delete_records({place: RecordsToDelete(-1) for place in places})
                        return
                    await asyncio.sleep(0.1)

    async def create(self, *names: str) -> None:
        """Create plain topics."""
        async with self._admin() as admin:
            await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])

    async def delete(self, prefix: str) -> None:
        """Delete every topic whose name begins so: the next measurement must not share the disk with it."""
        async with self._admin() as admin:
            await admin.delete_topics([name for name in await admin.list_topics() if name.startswith(prefix)])

    async def load(self, topic: str, file: Path) -> None:
        """Produce a file of events, by a process of its own."""
        await self.client("load", self.bootstrap_servers, topic, str(file))

    async def client(self, name: str, *arguments: str) -> bytes:
        """Run one of `benchmarks.clients` to its end; returns what it printed. Raises CalledProcessError."""
        command = [str(BENCH_PYTHON), "-m", f"benchmarks.clients.{name}", *arguments]
        run = await asyncio.to_thread(
            subprocess.run, command, check=True, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        return bytes(run.stdout)

    @contextlib.asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()


class Outputs:
    """How many records stand in some topics for a `read_committed` reader: their last stable offsets.

    Commit markers have offsets too. There are few, and they are taken off with the work that they belong to.
    """

    def __init__(self, bench: Bench, topics: Sequence[str]) -> None:
        self.bench = bench
        self._reader = AIOKafkaConsumer(bootstrap_servers=bench.bootstrap_servers, isolation_level="read_committed")
        self._places = [TopicPartition(topic, number) for topic in topics for number in range(PARTITIONS)]
        self._before = 0

    async def __aenter__(self) -> Self:
        await self._reader.start()
        self._before = await self._ends()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._reader.stop()

    async def count(self) -> int:
        """Records since the beginning of the measurement."""
        return await self._ends() - self._before

    async def _ends(self) -> int:
        return sum((await self._reader.end_offsets(self._places)).values())


async def watch(
    outputs: Outputs, processes: Sequence[Process], expected: int, *, most_seconds: float, settle_seconds: float = 1.0
) -> list[Reading]:
    """Look at the processes until `expected` outputs are there and no more come, or `most_seconds` after the first.

    Raises RuntimeError when a process ends or nothing comes.
    """
    readings: list[Reading] = []
    began = changed = time.monotonic()
    first: float | None = None
    while True:
        for process in processes:
            process.check()
        done = await outputs.count()
        now = time.monotonic()
        if not readings or done != readings[-1].done:
            changed = now
            cpu = sum(process.cpu_seconds() for process in processes)
            resident = sum(process.resident() for process in processes)
            readings.append(Reading(now, done, cpu, resident, outputs.bench.broker_cpu_seconds()))
        if done and first is None:
            first = now
        if (done >= expected and now - changed > settle_seconds) or (first is not None and now - first > most_seconds):
            return readings
        if first is None and now - began > 180:
            raise RuntimeError("no output in 180 s")
        await asyncio.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def started(processes: Sequence[Process]) -> Iterator[Sequence[Process]]:
    """Stop them all at the end."""
    try:
        yield processes
    finally:
        for process in processes:
            process.stop()


def parsed(raw: bytes) -> Any:
    """JSON."""
    return orjson.loads(raw)
