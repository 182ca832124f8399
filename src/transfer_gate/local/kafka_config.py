"""Configuration of the local Kafka: what a fast broker on one laptop needs, and Kafka's defaults for the rest.

The record of a broker (its ports, its release, its process) is kept between commands in `broker.json`.
"""

import os
from pathlib import Path
from typing import Final

import msgspec
import psutil
from msgspec import Struct

from transfer_gate.local.jars import release
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
