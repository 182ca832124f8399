"""`doctor` tells what is in order from what is not, and always says what to do."""

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from transfer_gate.doctor import cluster_checks, local_checks
from transfer_gate.doctor.cluster_checks import judged
from transfer_gate.kafka.cluster import ClockReading, Cluster
from transfer_gate.settings import Settings


class Limits:
    """A cluster of which only the limits are asked; it shows all but some."""

    def __init__(self, *hidden: str, **configs: str) -> None:
        self._configs = {
            "group.min.session.timeout.ms": "6000",
            "group.max.session.timeout.ms": "1800000",
            "transaction.max.timeout.ms": "900000",
            "offsets.retention.minutes": "20160",
        } | configs
        for name in hidden:
            del self._configs[name]

    async def brokers(self) -> list[int]:
        return [1]

    async def broker_configs(self, _: int) -> dict[str, str]:
        return self._configs


def settings(**given: Any) -> Settings:
    """Settings without an environment."""
    return Settings(_env_file=None, **given)  # type: ignore[call-arg]


async def limits(cluster: Limits, given: Settings, retention_ms: str = "604800000") -> list[tuple[str, str]]:
    """Checks of the broker's limits and how they are."""
    found = await cluster_checks.limits(cast("Cluster", cluster), given, {"retention.ms": retention_ms})
    assert all(finding.do for finding in found if finding.status != "ok")
    return [(finding.check, finding.status) for finding in found]


async def test_limits_of_a_default_broker_fit_the_default_settings() -> None:
    """One line says so."""
    assert await limits(Limits(), settings()) == [("broker limits", "ok")]


LIMITS: Final = tuple(Limits()._configs)


@pytest.mark.parametrize("hidden", [*((name,) for name in LIMITS), LIMITS], ids="+".join)
async def test_limits_that_a_cluster_hides_are_named_and_the_others_compared(hidden: tuple[str, ...]) -> None:
    cluster = Limits(*hidden, **({} if "transaction.max.timeout.ms" in hidden else {"transaction.max.timeout.ms": "1"}))
    found = await cluster_checks.limits(cast("Cluster", cluster), settings(), {"retention.ms": "604800000"})
    assert [(one.check, one.status) for one in found if one.check == "broker limits"] == [("broker limits", "warn")]
    assert [name for name in LIMITS if name in found[0].found] == list(hidden)
    assert "grant DescribeConfigs on the cluster" in found[0].do
    compared = [one.check for one in found[1:]]
    assert compared == ([] if "transaction.max.timeout.ms" in hidden else ["transaction timeout"])


@pytest.mark.parametrize(
    ("given", "check"),
    [
        ({"session_timeout_seconds": 5.9}, "session timeout"),
        ({"transaction_timeout_seconds": 700.0}, "transaction timeout"),
    ],
)
async def test_timeouts_that_the_broker_refuses_fail(given: dict[str, float], check: str) -> None:
    """A worker would end at its first join, or at its first transaction."""
    cluster = Limits(**{"transaction.max.timeout.ms": "600000"})
    assert await limits(cluster, settings(**given)) == [(check, "FAIL")]


@pytest.mark.parametrize(("minutes", "retention_ms"), [("10080", "604800000"), ("525600", "-1")])
async def test_offsets_that_lapse_before_the_input_does_are_worth_a_warning(minutes: str, retention_ms: str) -> None:
    """A gate that stood still for longer would begin at the earliest record again, and decide everything twice."""
    cluster = Limits(**{"offsets.retention.minutes": minutes})
    assert await limits(cluster, settings(), retention_ms) == [("offset retention", "warn")]


async def test_limits_that_may_not_be_read_are_not_taken_for_good() -> None:
    """Not known is not ok."""
    cluster = Limits()
    cluster._configs.clear()
    assert await limits(cluster, settings()) == [("broker limits", "warn")]


@pytest.mark.parametrize(
    ("offset", "uncertainty", "status"),
    [(0.5, 0.01, "ok"), (-1.9, 0.0, "ok"), (5.0, 0.01, "warn"), (5.0, 4.0, "ok"), (-301.0, 0.5, "FAIL")],
)
def test_a_clock_is_judged_by_what_is_certain(offset: float, uncertainty: float, status: str) -> None:
    """Beyond the skew that policy allows, decisions would misjudge the dates of others."""
    assert cluster_checks.clock(ClockReading(offset=offset, uncertainty=uncertainty), 300).status == status


@pytest.mark.parametrize(
    ("newest_ms", "status", "words"),
    [
        (None, "warn", "not known"),
        (900_000, "warn", "not known"),
        (1_010_000, "warn", "behind"),
        (1_400_000, "FAIL", "behind"),
    ],
)
def test_without_the_clusters_time_only_a_clock_behind_its_records_is_wrong(
    newest_ms: int | None, status: str, words: str
) -> None:
    """Now is 1,000 s; an old newest record proves nothing, because a topic may be quiet."""
    found = cluster_checks.clock_by_records(newest_ms, 1000.0, 300)
    assert (found.status, words in found.found) == (status, True)


@pytest.mark.parametrize(
    ("servers", "protocol", "warned"),
    [
        ("127.0.0.1:9092,localhost:9093,[::1]:9094", "PLAINTEXT", False),
        ("broker.example:9092", "PLAINTEXT", True),
        ("127.0.0.1:9092,192.0.2.7:9092", "PLAINTEXT", True),
        ("broker.example:9092", "SSL", False),
    ],
)
def test_personal_data_in_clear_over_a_network_is_worth_a_warning(servers: str, protocol: str, warned: bool) -> None:
    """Loopback is no network."""
    found = local_checks.settings_in_use(settings(bootstrap_servers=servers, security_protocol=protocol))
    assert ("encryption" in [finding.check for finding in found]) is warned


def test_a_password_file_that_others_can_read_is_worth_a_warning(tmp_path: Path) -> None:
    """And none once its rights are right."""
    secret = tmp_path / "password"
    secret.write_text("x")
    given = settings(
        security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_username="gate", sasl_password_file=secret
    )
    for mode, warned in ((0o644, True), (0o600, False)):
        secret.chmod(mode)
        assert ("password file" in [finding.check for finding in local_checks.settings_in_use(given)]) is warned


def test_a_wrong_registry_fails_and_is_not_used(tmp_path: Path) -> None:
    """A missing folder, and one without policy."""
    for folder in (tmp_path / "absent", tmp_path):
        finding, registry = local_checks.registry(folder)
        assert (finding.status, registry) == ("FAIL", None)
        assert finding.do


@pytest.mark.parametrize(("gibibytes", "status"), [(0.5, "FAIL"), (2, "warn"), (50, "ok")])
def test_room_for_a_rocksdb_state(
    gibibytes: float, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at where the folder will be made."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=int(gibibytes * 2**30)))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    (finding,) = local_checks.store(settings(store="rocksdb://", data_dir=tmp_path / "not" / "yet"))
    assert (finding.check, finding.status) == ("disk", status)


def test_a_missing_rocksdb_library_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra; the memory store does without."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert local_checks.store(settings(store="rocksdb://"))[0].status == "FAIL"
    assert local_checks.store(settings())[0].status == "ok"


@pytest.mark.parametrize(
    ("waiting", "days_old", "status", "words"),
    [
        ({}, None, "ok", "no consent event"),
        ({}, 30, "ok", "home"),
        ({}, 1, "warn", "places keys by another partitioner"),
        ({2: 5}, 30, "warn", "5 in partition 2"),
    ],
)
def test_strays_are_worth_a_warning_while_they_are_on_their_way_and_while_a_producer_goes_on(
    waiting: dict[int, int], days_old: int | None, status: str, words: str
) -> None:
    now = dt.datetime(2026, 11, 24, 10, tzinfo=dt.UTC)
    newest = None if days_old is None else int((now - dt.timedelta(days=days_old)).timestamp() * 1000)
    found = judged(7, waiting, newest, now)
    assert (found.status, words in found.found) == (status, True)
    assert bool(found.do) is (status == "warn")


def test_libraries_other_than_the_pinned_ones_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream overrides private methods of exactly these versions."""
    monkeypatch.setattr("importlib.metadata.requires", lambda _: ["aiokafka==0.0.1", "click>=8", 'x==1; extra == "y"'])
    found = local_checks.libraries()
    assert (found.status, "aiokafka" in found.found) == ("FAIL", True)
