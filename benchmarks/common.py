"""What the benchmarks share: a local Kafka, one file of contract-format events, workers, and meters."""

import asyncio
import contextlib
import datetime as dt
import platform
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import aiohttp
import orjson
import psutil
from aiokafka import AIOKafkaProducer

from transfer_gate.admin.topics import apply_topics
from transfer_gate.local.demo.registry import sample_registry
from transfer_gate.local.demo.worker import WorkerProcess
from transfer_gate.local.kafka import LocalKafka
from transfer_gate.local.ports import free_port
from transfer_gate.local.sample import Message, Sample
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings

PARTITIONS = 4


@contextlib.contextmanager
def scratch_kafka() -> Iterator[LocalKafka]:
    """A broker of its own in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="transfer-gate-bench-") as folder, LocalKafka(Path(folder)) as kafka:
        yield kafka


def settings_for(kafka: LocalKafka, name: str, folder: Path) -> Settings:
    """Settings of one installation of the gate; topics carry `bench.`, the group and its changelog carry `name`."""
    return Settings(
        _env_file=None,
        bootstrap_servers=kafka.bootstrap_servers,
        app_id=name,
        topic_prefix="bench.",
        registry=sample_registry(),
        data_dir=folder,
        metrics_port=free_port(),
        partitions=PARTITIONS,
        replication=1,
    )


def sample(prospects: int) -> Sample:
    """The same people, histories and transfers for every peer."""
    registry = load_registry(sample_registry())
    return Sample(registry, seed=7, now=dt.datetime.now(dt.UTC), prospects=prospects)


async def prepare(settings: Settings) -> None:
    """Create the topics of an installation."""
    await apply_topics(settings, load_registry(settings.registry))


async def produce(settings: Settings, topic: str, messages: Iterable[Message]) -> int:
    """Produce in bulk with Kafka's default partitioner; returns the number of records."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, acks="all", linger_ms=20, max_batch_size=1 << 18
    )
    await producer.start()
    count = 0
    try:
        for message in messages:
            await producer.send(topic, key=message.key, value=message.value)
            count += 1
    finally:
        await producer.stop()
    return count


@contextlib.asynccontextmanager
async def worker(settings: Settings) -> AsyncIterator[WorkerProcess]:
    """A worker process, started; its log is in the data folder."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    process = WorkerProcess(settings, settings.data_dir / "worker.log")
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


class Meter:
    """Reads one worker: transfers committed so far, and the CPU seconds of its process."""

    def __init__(self, settings: Settings, pid: int) -> None:
        self._url = f"http://127.0.0.1:{settings.metrics_port}/metrics"
        self._wanted = re.compile(
            rf'^transfer_gate_events_total\{{topic="{re.escape(settings.topics.transfers)}"\}} (\S+)', re.MULTILINE
        )
        self._process = psutil.Process(pid)

    async def transfers(self, session: aiohttp.ClientSession) -> int:
        """Transfers in committed rounds; 0 while the worker starts."""
        try:
            async with session.get(self._url) as answer:
                found = self._wanted.search(await answer.text())
        except aiohttp.ClientError:
            return 0
        return int(float(found.group(1))) if found else 0

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        times = self._process.cpu_times()
        return times.user + times.system

    def memory_mib(self) -> int:
        """Resident memory."""
        return int(self._process.memory_info().rss >> 20)


async def until(meter: Meter, count: int, timeout: float) -> tuple[float, float]:
    """Wait for the first and for the `count`-th committed transfer; returns wall and CPU seconds in between.

    The first reading above zero is taken as the start, and what it counted is taken off the work.
    """
    deadline = time.monotonic() + timeout
    async with aiohttp.ClientSession() as session:
        first = began = cpu = 0.0
        while time.monotonic() < deadline:
            done = await meter.transfers(session)
            if done and not first:
                first, began, cpu = float(done), time.perf_counter(), meter.cpu_seconds()
            if done >= count:
                share = (count - first) / count or 1.0
                return (time.perf_counter() - began) / share, (meter.cpu_seconds() - cpu) / share
            await asyncio.sleep(0.05)
    raise TimeoutError(f"{count} transfers were not done in {timeout} s")


def machine() -> str:
    """What a reader must know of the machine to make sense of a figure."""
    return f"{psutil.cpu_count()} cores, Python {platform.python_version()}, {sys.platform}"


def median(values: Iterable[float]) -> float:
    """Middle value."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def well_formed(messages: Iterable[Message]) -> Iterator[Message]:
    """Without the unreadable records of the sample: a plain agent would stop at the first one."""
    for message in messages:
        try:
            if orjson.loads(message.value)["prospect_id"].encode() == message.key:
                yield message
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            continue
