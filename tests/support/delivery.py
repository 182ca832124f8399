"""Programs that deliver to partners without Kafka, as `examples/delivery` has them: Kafka Connect and Apache Camel as
real processes, and an HTTP server that they deliver to.
"""

import asyncio
import http.server
import json
import os
import shutil
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.access import Right
from tests.support.secured_kafka import SecuredKafka
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.clients import client_options
from transfer_gate.kafka.session import open_session
from transfer_gate.local.jars import Jar, cache_folder, fetched, kafka_jars, kafka_versions
from transfer_gate.local.java import find_java
from transfer_gate.local.loopback import LOOPBACK, free_port

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "delivery"
#: The Kafka whose classes Connect shares.
_CONNECT_OF: Final = "4.3.0"
_PATIENCE: Final = 60.0
_PARTITIONS: Final = 2


def pinned(program: str) -> tuple[Jar, ...]:
    """Jars of `camel`, or of `connect` beside those of its Kafka: names, versions and SHA-256."""
    file = Path(__file__).with_name(f"delivery-jars-{program}.json")
    return msgspec.json.decode(file.read_bytes(), type=tuple[Jar, ...])


class PartnerTopic:
    """A partner's topic as a gate fills it: in transactions, some of which come to nothing."""

    def __init__(self, secured: SecuredKafka, folder: Path, user: str) -> None:
        """Nothing is made. `folder` is where a program runs that delivers as `user`."""
        self.party = f"p{uuid.uuid4().hex[:8]}"
        self.topic, self.reports, self.group = (
            f"partner.{self.party}",
            f"deliveries.{self.party}",
            f"courier-{self.party}",
        )
        #: Records by transfer id, byte for byte.
        self.released: dict[str, bytes] = {}
        self.folder = folder
        self._secured = secured
        self._user = user

    async def make(self) -> None:
        """Create the topics; give the rights, and the secrets to log in with."""
        admin = AIOKafkaAdminClient(**client_options(self._secured.admin()))
        await admin.start()
        await admin.create_topics([NewTopic(self.topic, _PARTITIONS, 1), NewTopic(self.reports, _PARTITIONS, 1)])
        await admin.close()
        rights = [
            Right("topic", self.topic, False, "Read"),
            Right("group", self.group, False, "Read"),
            Right("topic", self.reports, False, "Write"),
        ]
        await self._secured.grant(self._user, rights)
        given = self._secured.scram(self._user)
        secrets = self.folder / "secrets"
        secrets.mkdir()
        (secrets / "password").write_bytes(given["sasl_password_file"].read_bytes().strip())
        (secrets / "ca.pem").write_bytes(given["ssl_cafile"].read_bytes())

    @property
    def settings(self) -> Mapping[str, str]:
        """Variables of the examples for this topic."""
        return {
            "DELIVERY_BROKERS": self._secured.scram(self._user)["bootstrap_servers"],
            "DELIVERY_USER": self._user,
            "DELIVERY_TOPIC": self.topic,
            "DELIVERY_GROUP": self.group,
            "DELIVERY_REPORTS": self.reports,
        }

    async def release(self, people: int) -> None:
        """A committed transaction, and one that is aborted."""
        options = client_options(self._secured.admin())
        async with AIOKafkaProducer(**options, transactional_id=f"gate-{self.party}") as producer:
            async with producer.transaction():
                for number in range(people):
                    transfer, record = self._record(number)
                    await self._send(producer, number, transfer, record)
                    self.released[transfer] = record
            await producer.begin_transaction()
            for number in range(people):
                await self._send(producer, number, *self._record(number))
            await producer.abort_transaction()

    async def reported_of(self, program: "Delivery", transfers: int) -> list[tuple[str, Any]]:
        """Key and value of each report once there are some of so many transfers."""
        reports: list[tuple[str, Any]] = []
        while len({key for key, _ in reports}) < transfers:
            assert program.running
            async with open_session(self._secured.admin()) as session:
                begins, ends = await session.reader.bounds({self.reports: _PARTITIONS}, committed_only=True)
                left: dict[TopicPartition, int] = {place: end for place, end in ends.items() if end > begins[place]}
                reports = [
                    ((record.key or b"").decode(), json.loads(record.value or b"null"))
                    async for records in session.reader.records(left, {place: begins[place] for place in left})
                    for record in records
                ]
        return reports

    def _record(self, number: int) -> tuple[str, bytes]:
        transfer = str(uuid.uuid4())
        value = {
            "transfer_id": transfer,
            "prospect_id": f"prospect-{number}",
            "attributes": {"first_name": 'Zoé "Z"\n'},
        }
        return transfer, json.dumps(value, ensure_ascii=False).encode()

    async def _send(self, producer: AIOKafkaProducer, number: int, transfer: str, record: bytes) -> None:
        headers = [("tg-transfer-id", transfer.encode()), ("content-type", b"application/json")]
        await producer.send(self.topic, record, key=f"prospect-{number}".encode(), headers=headers)


class Delivery:
    """One process of a program that delivers. What it logs stays in `log`."""

    def __init__(
        self, folder: Path, jars: Sequence[Path], arguments: Sequence[str], settings: Mapping[str, str]
    ) -> None:
        """Nothing is started. `folder`: where it runs, with its `secrets/`; `settings`: variables of the examples."""
        self.log = folder / "delivery.log"
        self._folder = folder
        # Quick to start, and small: it runs for seconds.
        self._command = [str(find_java()), "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *arguments]
        self._environment = {**os.environ, **settings, "CLASSPATH": os.pathsep.join(map(str, [folder, *jars]))}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """SIGKILL: it has no time for anything."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self._process is not None and self._process.poll() is None

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until `holds`. Raises AssertionError when it does not, or when the process has ended."""
        deadline = time.monotonic() + _PATIENCE
        while not holds():
            assert self.running, f"it ended before it was {what}:\n{self._tail()}"
            assert time.monotonic() < deadline, f"it is not {what}:\n{self._tail()}"
            await asyncio.sleep(0.02)

    async def ended(self) -> int:
        """Wait until it has ended by itself; returns the exit code."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, _PATIENCE)

    def _tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]


def kafka_connect(folder: Path, connector: str, settings: Mapping[str, str]) -> Delivery:
    """Kafka Connect, standalone, with the worker and a connector of the examples."""
    assert _CONNECT_OF in kafka_versions()
    jars = fetched(pinned("connect"), cache_folder() / f"connect-{_CONNECT_OF}")
    (plugin,) = (jar for jar in jars if jar.name.startswith("connect-file-"))
    (folder / "log4j2.properties").write_text(
        "rootLogger.level = WARN\nrootLogger.appenderRef.console.ref = console\n"
        "appender.console.name = console\nappender.console.type = Console\n"
        "appender.console.layout.type = PatternLayout\nappender.console.layout.pattern = %d %p %c{1} %m%n\n",
        encoding="ascii",
    )
    (folder / "plugins").mkdir(exist_ok=True)
    shutil.copy(plugin, folder / "plugins")
    files = [str(EXAMPLES / "kafka-connect" / name) for name in ("worker.properties", connector)]
    return Delivery(
        folder,
        [*kafka_jars(version=_CONNECT_OF), *(jar for jar in jars if jar != plugin)],
        ["-Dlog4j2.configurationFile=log4j2.properties", "org.apache.kafka.connect.cli.ConnectStandalone", *files],
        {**settings, "DELIVERY_PORT": str(free_port())},
    )


def camel(folder: Path, routes: str, settings: Mapping[str, str]) -> Delivery:
    """Apache Camel with the application and routes of the examples."""
    jars = fetched(pinned("camel"), cache_folder() / "camel")
    return Delivery(
        folder,
        [EXAMPLES / "camel", *jars],
        ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "org.apache.camel.main.Main"],
        {**settings, "DELIVERY_ROUTES": str(EXAMPLES / "camel" / "routes" / routes)},
    )


class Receiver:
    """A partner's HTTP server. `answer` gives the status of each request from its number, counted from 1."""

    def __init__(self, answer: Callable[[int, dict[str, Any]], int]) -> None:
        """Nothing is started."""
        self._answer = answer
        self._lock = threading.Lock()
        self.requests = 0
        #: How often each transfer was taken.
        self.taken: Counter[str] = Counter()
        #: Bodies of what was taken; a repeat must be the same.
        self.bodies: dict[str, set[bytes]] = {}
        self.headers: list[Mapping[str, str]] = []

    @contextmanager
    def open(self) -> Iterator[str]:
        """Listen; gives the address."""
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver._take(dict(self.headers), body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Keep quiet."""

        with http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
            try:
                yield f"http://{LOOPBACK}:{server.server_address[1]}/transfers"
            finally:
                server.shutdown()

    def _take(self, headers: Mapping[str, str], body: bytes) -> int:
        with self._lock:
            self.requests += 1
            transfer = json.loads(body)
            status = self._answer(self.requests, transfer)
            if status < 300:
                self.headers.append(headers)
                self.taken[transfer["transfer_id"]] += 1
                self.bodies.setdefault(transfer["transfer_id"], set()).add(body)
            return status
