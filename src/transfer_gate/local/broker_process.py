"""The process of a local broker: its files, its command line, and why it ended."""

import base64
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil
from msgspec.structs import replace

from transfer_gate.errors import BrokerUnavailable
from transfer_gate.local import kafka_config
from transfer_gate.local.jars import cache_folder, kafka_versions
from transfer_gate.local.java import archive_flags, archive_folder
from transfer_gate.local.kafka_config import BrokerRecord

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
    log = kafka_config.log_config(record.kafka or kafka_versions()[-1])
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
    if not (folder / kafka_config.LOG_DIR / "meta.properties").exists():
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
    for file in (folder / CONSOLE, folder / kafka_config.LOG_FILE):
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


def _write_files(folder: Path, record: BrokerRecord, log: kafka_config.LogConfig) -> None:
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    for name in ("logs", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    for old in (CONSOLE, kafka_config.LOG_FILE):
        # `why_it_ended` must not find the cause of an earlier end.
        (folder / old).unlink(missing_ok=True)
    properties = kafka_config.server_properties(record)
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
