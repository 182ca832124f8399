"""What the fault suites share: a registry, installations with workers that always end, and a place for figures."""

import datetime as dt
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from tests.conftest import BOOTSTRAP_SERVERS
from tests.support.events import Events
from tests.support.registry import write_registry
from tests.support.workers import Installation

#: Repeats a run: `FAULTS_SEED=… pytest …`; the seed of a failed run stands in its report.
SEED_VARIABLE: Final = "FAULTS_SEED"

#: Nobody waits long for the death of a worker to be noticed; other clusters than ours refuse sessions under 6 s.
SESSION_SECONDS: Final = 6 if BOOTSTRAP_SERVERS else 3

#: Property of a report: a line of figures.
_FIGURES: Final = "figures"

NewInstallation = Callable[..., Installation]


class Figures(Protocol):
    """Takes one line for the end of the run: what a test counted and measured."""

    def __call__(self, **figures: object) -> None: ...


@pytest.fixture(scope="session")
def now() -> dt.datetime:
    """When the run began."""
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


@pytest.fixture(scope="session")
def events(now: dt.datetime) -> Events:
    return Events(now)


@pytest.fixture(scope="session")
def registry(now: dt.datetime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_registry(tmp_path_factory.mktemp("registry"), now)


@pytest.fixture(scope="module")
def new_installation(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewInstallation]:
    """Makes installations with their topics; every worker that is left over is ended after the module."""
    made: list[Installation] = []

    def make(bootstrap_servers: str, **settings: Any) -> Installation:
        settings = {"session_timeout_seconds": SESSION_SECONDS, **settings}
        place = Installation(bootstrap_servers, registry, tmp_path_factory.mktemp("installation"), **settings)
        made.append(place)
        place.apply_topics()
        return place

    yield make
    for place in made:
        place.close()


@pytest.fixture
def chance(record_property: Callable[[str, object], None]) -> random.Random:
    """Decides what happens when; its seed is told when the test fails."""
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(1 << 32))
    record_property("seed", seed)
    print(f"{SEED_VARIABLE}={seed}")  # noqa: T201  (pytest shows it with a failure)
    return random.Random(seed)


@pytest.fixture
def figures(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Figures:
    def take(**counted: object) -> None:
        line = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in counted.items())
        record_property(_FIGURES, f"{request.node.name}: {line}")

    return take


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # Of the reports, because tests may run in other processes than this one.
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    lines = [line for report in reports for name, line in report.user_properties if name == _FIGURES]
    if lines:
        terminalreporter.section("figures of the fault suites")
        for line in lines:
            terminalreporter.write_line(line)
