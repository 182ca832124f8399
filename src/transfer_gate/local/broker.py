"""The local broker: what a fast Kafka on one laptop needs of its configuration (Kafka's defaults for the rest), its
process, its files, and why it ended.

The record of a broker (its ports, its release, its process) is kept between commands in `broker.json`."""

import base64
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import psutil
from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.errors import BrokerUnavailable
from transfer_gate.local.jars import cache_folder, kafka_versions, release
from transfer_gate.local.java import archive_flags, archive_folder
from transfer_gate.local.loopback import LOOPBACK

FILE: Final = "broker.json"

#: Seconds that a start time may move when the wall clock is corrected; pids are not reused that fast.
_CLOCK_STEP: Final = 2.0


class Seat(msgspec.Struct, frozen=True):
    """The place of a broker in a cluster: its node id, and the controller port of every node."""

    node: int
    cluster_id: str
    controllers: dict[int, int]


class BrokerRecord(msgspec.Struct, frozen=True):
    """Content of `broker.json`. `pid` and `started` (Unix seconds) are absent while it is meant to be stopped."""

    port: int
    controller_port: int
    pid: int | None = None
    started: float | None = None
    #: Where the class archive goes that it writes when it ends.
    archive: str | None = None
    #: None for a broker on its own.
    seat: Seat | None = None
    #: The release of Apache Kafka that it runs, or ran last.
    kafka: str | None = None

    def save(self, folder: Path) -> None:
        """Replace the file in one step, so that a reader never meets half of it."""
        new = folder / f"{FILE}.{os.getpid()}.new"
        new.write_bytes(msgspec.json.encode(self))
        new.replace(folder / FILE)

    def process(self, mark: str) -> psutil.Process | None:
        """The process, when it still runs and is the one that was started: same pid, start time and `mark` argument."""
        if self.pid is None or self.started is None:
            return None
        try:
            process = psutil.Process(self.pid)
            alive = process.status() != psutil.STATUS_ZOMBIE
            same = abs(process.create_time() - self.started) < _CLOCK_STEP and mark in process.cmdline()
        except psutil.Error:
            return None
        return process if alive and same else None


def load(folder: Path) -> BrokerRecord | None:
    """The record of `folder`; None when there is none, or none that can be read."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=BrokerRecord)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


NODE_ID: Final = 1

#: Kafka's data and its log of events, below the folder that the broker runs in.
LOG_DIR: Final = "data"
LOG_FILE: Final = "logs/broker.log"

#: The reason stands beside each line; what isn't here is Kafka's default, as a production cluster has it.
_BROKER: Final = {
    # A misspelt topic must fail, not appear.
    "auto.create.topics.enable": "false",
    # Few partitions are created and loaded quickly.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    # What `topics apply` uses where TRANSFER_GATE_PARTITIONS is not set.
    "num.partitions": "4",
    # Production waits 3 s for more members of a new group; here there are few, and people watch.
    "group.initial.rebalance.delay.ms": "0",
    # Kafka refuses sessions under 6 s; tests of dead workers would wait that long each time.
    "group.min.session.timeout.ms": "1000",
    # After `kill -9` the controller, a part of the same process, takes the old incarnation for alive for this long and
    # refuses the new one (DUPLICATE_BROKER_REGISTRATION). The defaults, 9 s and 2 s, made a restart take 13 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # The default sizes are for a server of its own: 3 + 8 + 10 threads and 128 MiB of heap for compaction.
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "4",
    "log.cleaner.dedupe.buffer.size": str(32 << 20),
}

#: One node can't replicate.
_ALONE: Final = {
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}

#: Kafka's own topics have three copies by default, two of them in sync; so has everything else here.
_TOGETHER: Final = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "share.coordinator.state.topic.min.isr": "2",
    # Each broker stands in a rack of its own, `rack-<node id>`: clients that name it read from there (KIP-392).
    "replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
}

#: For log4j 2, which Kafka logs with from 4.0 on.
_LOG4J2_PROPERTIES: Final = """\
# Written at every start. Everything goes to a file that rolls at 10 MB.
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = logs/broker.log
appender.file.filePattern = logs/broker.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{ISO8601} %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
# What a reader of a failed test asks first: lives of the broker, of groups and of transactions.
logger.server.name = kafka.server
logger.server.level = info
logger.coordinator.name = org.apache.kafka.coordinator
logger.coordinator.level = info
"""

#: The same for reload4j, which goes on where log4j 1 ended.
_RELOAD4J_PROPERTIES: Final = """\
# Written at every start. Everything goes to a file that rolls at 10 MB.
log4j.rootLogger = WARN, file
log4j.appender.file = org.apache.log4j.RollingFileAppender
log4j.appender.file.File = logs/broker.log
log4j.appender.file.MaxFileSize = 10MB
log4j.appender.file.MaxBackupIndex = 2
log4j.appender.file.layout = org.apache.log4j.PatternLayout
log4j.appender.file.layout.ConversionPattern = %d{ISO8601} %p %m (%c)%n
log4j.logger.kafka.server = INFO
log4j.logger.org.apache.kafka.coordinator = INFO
"""


class LogConfig(Struct, frozen=True):
    """How a broker gets the place of its log: a file to write into its folder, and an option of `java`."""

    file: str
    content: str
    option: str


def log_config(version: str) -> LogConfig:
    """What the release `version` of Apache Kafka logs with."""
    if release(version) < (4,):
        name = "log4j.properties"
        return LogConfig(name, _RELOAD4J_PROPERTIES, f"-Dlog4j.configuration=file:{name}")
    name = "log4j2.properties"
    return LogConfig(name, _LOG4J2_PROPERTIES, f"-Dlog4j2.configurationFile={name}")


def server_properties(record: BrokerRecord) -> str:
    """`server.properties` of a combined broker and controller that listens on 127.0.0.1 only.

    Paths are relative to the folder that the broker runs in: Kafka reads this file as Latin-1 and splits `log.dirs` at
    commas, so an absolute path would have to be free of both surprises.
    """
    seat, port, controller_port = record.seat, record.port, record.controller_port
    controllers = seat.controllers if seat else {NODE_ID: controller_port}
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(seat.node if seat else NODE_ID),
        "controller.quorum.voters": ",".join(f"{node}@{LOOPBACK}:{its}" for node, its in controllers.items()),
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "log.dirs": LOG_DIR,
        **_BROKER,
        **(_TOGETHER | {"broker.rack": f"rack-{seat.node}"} if seat else _ALONE),
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


#: What Java itself says, and Kafka before its log is set up; relative to the folder of the broker.
CONSOLE: Final = Path("logs", "console.log")

#: `java.io.IOException: why`, also behind "Caused by: " or "Exception in thread "main" ".
_EXCEPTION: Final = re.compile(r'(Caused by: |Exception in thread "\S+" )?[a-z]\w*(\.[\w$]+)+(Exception|Error): ')

#: Kafka halts on a full disk; better not to start on one. Bytes.
_ROOM: Final = 512 << 20


def mark(folder: Path) -> str:
    """An argument of the broker's command line that marks its process."""
    return f"-Dtransfer-gate.data-dir={folder}"


def launch(
    folder: Path, record: BrokerRecord, java: Path, jars: Sequence[Path], heap: str
) -> tuple[subprocess.Popen[bytes], BrokerRecord]:
    """Start the broker of `folder` on the ports of `record`, with the jars of its release; formats its storage the
    first time.

    Returns the process and the record that knows it. Raises BrokerUnavailable without room on the disk.
    """
    _require_room(folder)
    log = log_config(record.kafka or kafka_versions()[-1])
    _write_files(folder, record, log)
    archive = archive_folder(java, jars, cache_folder())
    use_archive, write_archive = archive_flags(archive)
    jvm = [
        str(java),
        # One collector thread: with few cores the broker's clients need the others.
        "-XX:+UseSerialGC",
        "-XX:+ExitOnOutOfMemoryError",
        *use_archive,
        log.option,
        # Compression libraries unpack themselves here, also where /tmp forbids execution.
        "-Djava.io.tmpdir=tmp",
        mark(folder),
    ]
    environment = {**os.environ, "CLASSPATH": os.pathsep.join(map(str, jars))}
    if not (folder / LOG_DIR / "meta.properties").exists():
        _format(folder, jvm, environment, record.seat.cluster_id if record.seat else new_cluster_id())
    with (folder / CONSOLE).open("wb") as console:
        process = subprocess.Popen(
            [*jvm, *write_archive, f"-Xmx{heap}", "kafka.Kafka", "server.properties"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            # Ctrl-C in this terminal is for us; the broker is stopped by its pid.
            start_new_session=True,
        )
    started = psutil.Process(process.pid).create_time()
    return process, replace(record, pid=process.pid, started=started, archive=str(archive) if archive else None)


def why_it_ended(folder: Path) -> str:
    """The likeliest cause from what the broker wrote: the innermost exception of its last one, else its last line."""
    lines: list[str] = []
    for file in (folder / CONSOLE, folder / LOG_FILE):
        if file.is_file():
            lines += file.read_text(encoding="utf-8", errors="replace").splitlines()
    written = [line.strip() for line in lines if line.strip()]
    return ([line for line in written if _EXCEPTION.match(line)] or written or ["it ended without a word"])[-1]


def _require_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _ROOM:
        raise BrokerUnavailable(
            f"{free >> 20} MiB are free in {folder}, Kafka needs {_ROOM >> 20} MiB to start",
            do="free some space, or choose another --data-dir",
        )


def _write_files(folder: Path, record: BrokerRecord, log: LogConfig) -> None:
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    for name in ("logs", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    for old in (CONSOLE, LOG_FILE):
        # `why_it_ended` must not find the cause of an earlier end.
        (folder / old).unlink(missing_ok=True)
    properties = server_properties(record)
    (folder / "server.properties").write_text(properties, encoding="ascii")
    (folder / log.file).write_text(log.content, encoding="ascii")


def new_cluster_id() -> str:
    """A cluster id: a UUID in URL-safe base64."""
    # Kafka's tools take a leading hyphen for an option.
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "A")


def _format(folder: Path, jvm: Sequence[str], environment: dict[str, str], cluster: str) -> None:
    """Make an empty KRaft log with the features of this release."""
    tool = ["-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "--cluster-id", cluster]
    run = subprocess.run(
        [*jvm, *tool, "--config", "server.properties", "--ignore-formatted"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if run.returncode != 0:
        (folder / CONSOLE).write_bytes(run.stdout + run.stderr)
        raise BrokerUnavailable(
            f"Kafka's storage can't be formatted: {why_it_ended(folder)}", do=f"see {folder / CONSOLE}"
        )
