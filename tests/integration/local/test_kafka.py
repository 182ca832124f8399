"""The local Kafka is a real broker that keeps what it acknowledged, and touches nothing that is not its own."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.conftest import KAFKA_VERSION, FreshKafka, Namespace
from transfer_gate.errors import BrokerUnavailable, InvalidInput
from transfer_gate.local.broker import BrokerRecord
from transfer_gate.local.jars import kafka_versions
from transfer_gate.local.kafka import LocalKafka
from transfer_gate.local.loopback import answers, free_port


async def create(bootstrap_servers: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def produce(bootstrap_servers: str, topic: str, values: list[bytes], transactional_id: str | None = None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", transactional_id=transactional_id)
    await producer.start()
    try:
        if transactional_id is None:
            for value in values:
                await producer.send_and_wait(topic, value, partition=0)
        else:
            async with producer.transaction():
                for value in values:
                    await producer.send(topic, value, partition=0)
    finally:
        await producer.stop()


async def consume(bootstrap_servers: str, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, isolation_level="read_committed")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        async with asyncio.timeout(30):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_a_committed_transaction_is_read_back(bootstrap_servers: str, namespace: Namespace) -> None:
    topic = f"{namespace.topic_prefix}things"
    await create(bootstrap_servers, topic)
    await produce(bootstrap_servers, topic, [b"one", b"two"], transactional_id=namespace.app_id)
    assert await consume(bootstrap_servers, topic, 2) == [b"one", b"two"]


async def test_stop_kill_and_restart_keep_acknowledged_records_and_the_port(fresh_kafka: FreshKafka) -> None:
    broker = await asyncio.to_thread(fresh_kafka)
    servers = broker.bootstrap_servers
    await create(servers, "things")

    await produce(servers, "things", [b"before stop"])
    await asyncio.to_thread(broker.restart)
    await produce(servers, "things", [b"before kill"])
    await asyncio.to_thread(broker.kill)
    assert not broker.running
    await asyncio.to_thread(broker.start)

    assert broker.bootstrap_servers == servers
    assert await consume(servers, "things", 2) == [b"before stop", b"before kill"]


async def test_brokers_side_by_side_are_separate(bootstrap_servers: str, fresh_kafka: FreshKafka) -> None:
    other = await asyncio.to_thread(fresh_kafka)
    assert other.bootstrap_servers != bootstrap_servers
    await create(other.bootstrap_servers, "only-there")
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        assert "only-there" not in await admin.list_topics()
    finally:
        await admin.close()


def test_it_listens_on_loopback_only(fresh_kafka: FreshKafka) -> None:
    broker = fresh_kafka()
    assert broker.pid is not None
    listening = [
        connection.laddr.ip
        for connection in psutil.Process(broker.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) == 2
    # Java listens on IPv4 through an IPv6 socket.
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_starting_what_runs_changes_nothing(fresh_kafka: FreshKafka) -> None:
    broker = fresh_kafka()
    same = LocalKafka(broker.data_dir)
    same.start()
    assert same.pid == broker.pid
    with pytest.raises(InvalidInput, match=f"runs already, on port {broker.port}"):
        LocalKafka(broker.data_dir, broker.port + 1).start()
    other = next(version for version in kafka_versions() if version != broker.version)
    with pytest.raises(InvalidInput, match=f"runs already, release {broker.version}"):
        LocalKafka(broker.data_dir, version=other).start()
    assert same.stop()
    assert not broker.running
    assert not broker.stop()


def test_data_of_a_newer_release_are_refused_and_a_folder_keeps_its_release(tmp_path: Path) -> None:
    """Nothing is downloaded or started for it."""
    folder = tmp_path / "kafka"
    folder.mkdir()
    versions = kafka_versions()
    BrokerRecord(free_port(), free_port(), kafka=versions[-1]).save(folder)
    with pytest.raises(InvalidInput, match=f"written by Apache Kafka {versions[-1]}, which {versions[0]} can't read"):
        LocalKafka(folder, version=versions[0]).start()
    BrokerRecord(free_port(), free_port(), kafka=versions[0]).save(folder)
    assert LocalKafka(folder).version == versions[0]
    assert LocalKafka(folder, version=versions[-1]).version == versions[-1]
    assert [path.name for path in folder.iterdir() if path.suffix] == ["broker.json"]


def test_odd_folder_names_and_a_damaged_class_archive_do_no_harm(
    tmp_path: Path, kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kafka.running  # so the jars are in the cache
    from transfer_gate.local import jars, java

    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "transfer-gate").mkdir()
    (cache / "transfer-gate" / f"kafka-{kafka.version}").symlink_to(
        jars.cache_folder() / f"kafka-{kafka.version}", target_is_directory=True
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    with LocalKafka(tmp_path / "a, b=é \\ #1", version=KAFKA_VERSION) as broker:
        first = broker.pid
    archives = list(cache.rglob(java._ALL))
    assert [archive.stat().st_size > 1 << 20 for archive in archives] == [True]

    archives[0].write_bytes(b"damaged" * 1000)
    with broker:
        assert answers("127.0.0.1", broker.port)
        assert broker.pid != first


def test_a_taken_port_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        broker = LocalKafka(tmp_path / "kafka", port)
        with pytest.raises(InvalidInput, match=f"port {port} of 127.0.0.1 is taken"):
            broker.start()
    assert not broker.running
    assert not (tmp_path / "kafka" / "data").exists()


def test_a_broker_that_can_not_start_says_why_and_leaves_nothing_running(fresh_kafka: FreshKafka) -> None:
    broker = fresh_kafka()
    broker.stop()
    meta = broker.data_dir / "data" / "meta.properties"
    meta.write_text(meta.read_text(encoding="ascii").replace("node.id=1", "node.id=7"), encoding="ascii")
    with pytest.raises(BrokerUnavailable, match=r"Kafka did not start: .*node"):
        broker.start()
    assert not broker.running


def test_an_interrupted_start_leaves_nothing_running(fresh_kafka: FreshKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = fresh_kafka()
    broker.stop()
    seen: list[int | None] = []

    def interrupted(_host: str, _port: int) -> bool:
        seen.append(broker.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr("transfer_gate.local.kafka.answers", interrupted)
    with pytest.raises(KeyboardInterrupt):
        broker.start()
    assert isinstance(seen[0], int)
    assert not psutil.pid_exists(seen[0])
    assert not broker.running


def test_a_full_disk_is_told_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 100 << 20}))
    with pytest.raises(BrokerUnavailable, match=r"100 MiB are free in .*, Kafka needs 512 MiB"):
        LocalKafka(tmp_path / "kafka").start()


def test_only_the_process_that_was_started_is_stopped(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as stranger:
        try:
            # A pid that was given to another process since the broker ended.
            record = {"port": 20000, "controller_port": 20001, "pid": stranger.pid}
            for started in (0.0, psutil.Process(stranger.pid).create_time()):
                (tmp_path / "broker.json").write_text(json.dumps(record | {"started": started}), encoding="utf-8")
                broker = LocalKafka(tmp_path)
                assert broker.pid is None
                assert not broker.stop()
                broker.kill()
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_java_heap_sizes_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="lots is not a size"):
        LocalKafka(tmp_path, heap="lots")


class TestCommand:
    """`transfer-gate kafka`, as a program of its own."""

    @pytest.fixture
    def environment(self, tmp_path: Path) -> dict[str, str]:
        return {**os.environ, "TRANSFER_GATE_DATA_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(self, command: list[str], environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, "kafka", *arguments], env=environment, capture_output=True, text=True, timeout=200, check=False
        )

    def test_start_status_stop(self, command: list[str], environment: dict[str, str], tmp_path: Path) -> None:
        from transfer_gate.local.loopback import free_port

        port = free_port()
        try:
            started = self.run(command, environment, "start", "--port", str(port))
            assert (started.returncode, started.stdout) == (0, f"127.0.0.1:{port}\n")
            assert "is ready" in started.stderr

            again = self.run(command, environment, "start")
            assert (again.returncode, again.stdout) == (0, f"127.0.0.1:{port}\n")
            assert "runs already" in again.stderr
            other = self.run(command, environment, "start", "--kafka-version", kafka_versions()[0])
            assert (other.returncode, other.stdout) == (2, "")
            assert f"runs already, release {kafka_versions()[-1]}" in other.stderr

            status = self.run(command, environment, "status", "--output", "json")
            facts = json.loads(status.stdout)
            assert status.returncode == 0
            assert facts["ready"]
            assert facts["bootstrap_servers"] == f"127.0.0.1:{port}"
            assert facts["version"] == kafka_versions()[-1]
            assert psutil.pid_exists(facts["pid"])

            assert self.run(command, environment, "stop").returncode == 0
            assert not psutil.pid_exists(facts["pid"])
            gone = self.run(command, environment, "status")
            assert gone.returncode == 6
            assert "does not run" in gone.stderr
        finally:
            LocalKafka(tmp_path / "kafka").stop()

    @pytest.mark.parametrize(("signal", "code"), [("SIGTERM", 0), ("SIGINT", 130)])
    def test_foreground_ends_with_its_broker_stopped(
        self, command: list[str], environment: dict[str, str], tmp_path: Path, signal: str, code: int
    ) -> None:
        import signal as signals

        from transfer_gate.local.loopback import free_port

        broker = LocalKafka(tmp_path / "kafka")
        arguments = [*command, "kafka", "start", "--foreground", "--port", str(free_port())]
        with subprocess.Popen(
            arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as run:
            try:
                assert run.stdout is not None
                assert run.stdout.readline().startswith("127.0.0.1:")
                assert broker.running
                run.send_signal(signals.Signals[signal])
                assert run.wait(60) == code
                assert not broker.running
            finally:
                run.kill()
                broker.stop()

    def test_without_network_it_says_what_to_do(
        self, command: list[str], environment: dict[str, str], tmp_path: Path
    ) -> None:
        # Port 9 of this machine: nobody listens, so the download fails at once.
        nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "NO_PROXY": ""}
        told = self.run(command, environment | nowhere | {"XDG_CACHE_HOME": str(tmp_path / "cache")}, "start")
        assert told.returncode == 6
        assert "from Maven Central" in told.stderr
        assert "check the network" in told.stderr
        assert "Traceback" not in told.stderr
        assert not list((tmp_path / "cache").rglob("*.jar"))

    def test_without_java_it_says_what_to_do(
        self, command: list[str], environment: dict[str, str], tmp_path: Path
    ) -> None:
        told = self.run(command, environment | {"JAVA_HOME": str(tmp_path)}, "start", "--java", "system")
        assert told.returncode == 2
        assert "no `java` in JAVA_HOME" in told.stderr
        assert "install Java 17 or newer" in told.stderr
