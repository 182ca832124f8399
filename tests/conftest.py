"""Fixtures that every test may use: a real Kafka, and names of its own on it."""

import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import hypothesis
import pytest

from transfer_gate.local.kafka import LocalKafka
from transfer_gate.settings import PREFIX

#: Points the tests at another cluster; it has to allow topics to be created.
BOOTSTRAP_VARIABLE = "TRANSFER_GATE_TEST_BOOTSTRAP_SERVERS"
BOOTSTRAP_SERVERS = os.environ.pop(BOOTSTRAP_VARIABLE, "")

#: Has the tests start another release of Apache Kafka than the newest: one of `kafka_versions()`.
KAFKA_VERSION = os.environ.pop("TRANSFER_GATE_TEST_KAFKA_VERSION", None)

#: Gives a broker of its own: for tests that stop it, kill it or fill it.
FreshKafka = Callable[[], LocalKafka]


@dataclass(frozen=True)
class Namespace:
    """Names that no other test uses, so that tests share a broker without meeting."""

    topic_prefix: str
    app_id: str


def pytest_configure() -> None:
    """Settings of the shell that runs the tests must not reach them; SIGTERM ends the run as Ctrl-C does.

    Otherwise a run that is stopped from outside would leave its broker behind. Hypothesis measures no time: how quick
    an example is says more about the machine than about the code.
    """
    hypothesis.settings.register_profile(
        "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("untimed")
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    signal.signal(signal.SIGTERM, _end_run)
    # Ignored in a background job of a shell, and then in every process that a test starts and interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_run(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A Kafka of this test session. Tests that use it directly need a local one: they look at its process."""
    with LocalKafka(tmp_path_factory.mktemp("kafka"), version=KAFKA_VERSION) as broker:
        yield broker


@pytest.fixture(scope="session")
def bootstrap_servers(request: pytest.FixtureRequest) -> str:
    """`host:port` of the cluster for tests: of TRANSFER_GATE_TEST_BOOTSTRAP_SERVERS, else of a local one."""
    if BOOTSTRAP_SERVERS:
        return BOOTSTRAP_SERVERS
    broker: LocalKafka = request.getfixturevalue("kafka")
    return broker.bootstrap_servers


@pytest.fixture
def namespace() -> Namespace:
    """Topic prefix and app id of one test."""
    unique = uuid.uuid4().hex[:12]
    return Namespace(topic_prefix=f"t{unique}-", app_id=f"gate-{unique}")


@pytest.fixture
def fresh_kafka(tmp_path: Path) -> Iterator[FreshKafka]:
    """Starts brokers of the test's own, each in a folder of its own; all are stopped after the test."""
    started: list[LocalKafka] = []

    def start() -> LocalKafka:
        broker = LocalKafka(tmp_path / f"kafka-{len(started)}", version=KAFKA_VERSION)
        started.append(broker)
        return broker.start()

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture
def command() -> list[str]:
    """The command `transfer-gate` as a program of its own, in the Python that runs the tests."""
    return [sys.executable, "-m", "transfer_gate"]
