"""The jars of the local Kafka are the pinned ones, or none."""

import hashlib
import stat
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from transfer_gate.errors import BrokerUnavailable, InvalidInput
from transfer_gate.local import jars
from transfer_gate.local.jars import Jar, Pins, Progress, kafka_jars

CONTENTS = {"broker": b"the broker", "clients": b"the clients, somewhat longer"}


def jar(artifact: str, content: bytes) -> Jar:
    return Jar("org.example", artifact, "1.0", hashlib.sha256(content).hexdigest(), len(content))


class Central:
    """Stands for a repository: hands out files, counts them."""

    def __init__(self) -> None:
        self.contents = dict(CONTENTS)
        self.served: list[str] = []

    def fetch(self, wanted: list[Jar], work: Path, _progress: Progress | None) -> Iterator[tuple[Jar, Path]]:
        for one in wanted:
            path = work / one.name
            path.write_bytes(self.contents[one.artifact])
            self.served.append(one.artifact)
            yield one, path


@pytest.fixture
def central(monkeypatch: pytest.MonkeyPatch) -> Central:
    repository = Central()
    pinned = Pins("9.9.9", tuple(jar(artifact, content) for artifact, content in CONTENTS.items()))
    monkeypatch.setattr(jars, "pins", lambda _version=None: pinned)
    monkeypatch.setattr(jars, "_fetch_with_jgo", repository.fetch)
    return repository


@pytest.mark.parametrize("version", jars.kafka_versions())
def test_the_pins_name_a_kafka_and_its_log(version: str) -> None:
    pinned = jars.pins(version)
    names = {one.name for one in pinned.jars}
    assert pinned.kafka == version
    assert {f"kafka_2.13-{version}.jar", f"kafka-clients-{version}.jar"} <= names
    # Without the binding the broker runs and logs nothing.
    assert any(name.startswith(("log4j-slf4j-impl-", "slf4j-reload4j-")) for name in names)
    assert len(names) == len(pinned.jars)
    assert all(len(one.sha256) == 64 and one.size > 0 for one in pinned.jars)


def test_the_newest_release_is_the_default_and_one_that_is_not_pinned_is_refused() -> None:
    versions = jars.kafka_versions()
    assert list(versions) == sorted(versions, key=jars.release)
    assert jars.pins().kafka == versions[-1]
    with pytest.raises(InvalidInput, match=f"(?s)9.9.9 is not pinned.*{versions[0]}"):
        kafka_jars(version="9.9.9")


def test_jars_are_downloaded_once(central: Central, tmp_path: Path) -> None:
    first = kafka_jars(cache=tmp_path)
    assert [path.read_bytes() for path in first] == [b"the broker", b"the clients, somewhat longer"]
    assert kafka_jars(cache=tmp_path) == first
    assert central.served == ["broker", "clients"]


@pytest.mark.parametrize("damage", [b"", b"tampered!!", b"the broker and more"])
def test_a_damaged_jar_is_fetched_anew(central: Central, tmp_path: Path, damage: bytes) -> None:
    broker, _ = kafka_jars(cache=tmp_path)
    broker.write_bytes(damage)
    kafka_jars(cache=tmp_path)
    assert broker.read_bytes() == b"the broker"
    assert central.served == ["broker", "clients", "broker"]


def test_a_file_with_another_checksum_never_reaches_the_cache(central: Central, tmp_path: Path) -> None:
    central.contents["clients"] = b"the clients, with a surprise"
    with pytest.raises(BrokerUnavailable, match=r"clients-1\.0\.jar is not the file that was pinned"):
        kafka_jars(cache=tmp_path)
    assert [path.name for path in (tmp_path / "kafka-9.9.9").iterdir()] == ["broker-1.0.jar"]
    central.contents = dict(CONTENTS)
    kafka_jars(cache=tmp_path)
    # What had arrived whole was kept.
    assert central.served == ["broker", "clients", "clients"]


def test_starters_at_the_same_time_share_one_download(
    central: Central, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered = threading.Barrier(4)
    missing = jars._missing

    def all_see_it_missing(wanted: Sequence[Jar], folder: Path) -> list[Jar]:
        found = missing(wanted, folder)
        if threading.current_thread().name.startswith("starter") and not arrived.get(threading.get_ident()):
            arrived[threading.get_ident()] = True
            gathered.wait(10)
        return found

    arrived: dict[int, bool] = {}
    monkeypatch.setattr(jars, "_missing", all_see_it_missing)
    with ThreadPoolExecutor(4, thread_name_prefix="starter") as starters:
        results = list(starters.map(lambda _: kafka_jars(cache=tmp_path), range(4)))
    assert len(arrived) == 4
    assert all(result == results[0] for result in results)
    assert central.served == ["broker", "clients"]


def test_a_full_disk_is_told_before_the_download(
    central: Central, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 3}))
    with pytest.raises(BrokerUnavailable, match="are free"):
        kafka_jars(cache=tmp_path)
    assert central.served == []


@pytest.mark.usefixtures("central")
def test_a_cache_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be", encoding="utf-8")
    with pytest.raises(BrokerUnavailable, match=r"(?s)can't write the jars .* XDG_CACHE_HOME"):
        kafka_jars(cache=tmp_path / "cache")


def test_the_cache_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    for value, expected in {
        str(tmp_path): tmp_path / "transfer-gate",
        "relative": Path("/home/someone/.cache/transfer-gate"),
        "": Path("/home/someone/.cache/transfer-gate"),
    }.items():
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert jars.cache_folder() == expected


def installed(folder: Path, script: str) -> None:
    """A program `mvn` in `folder`."""
    program = folder / "mvn"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.usefixtures("central")
class TestMaven:
    """`--jars mvn`: the pinned jars through an installed Maven."""

    def test_fetches_exactly_what_is_pinned(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        copy = (
            "for option; do case $option in -DoutputDirectory=*) to=${option#*=};; esac; done; mkdir -p $to; "
            f"cp pom.xml {tmp_path}; printf 'the broker' > $to/broker-1.0.jar; "
            "printf 'the clients, somewhat longer' > $to/clients-1.0.jar"
        )
        installed(tmp_path, copy)
        told: list[tuple[int, int]] = []
        kafka_jars("mvn", lambda done, total: told.append((done, total)), cache=tmp_path / "cache")
        assert told == [(10, 38), (38, 38)]
        pom = (tmp_path / "pom.xml").read_text(encoding="utf-8")
        assert "<artifactId>broker</artifactId><version>1.0</version>" in pom

    def test_a_failure_says_what_maven_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        installed(tmp_path, "echo '[ERROR] Could not transfer artifact'; exit 1")
        with pytest.raises(BrokerUnavailable, match="Could not transfer artifact"):
            kafka_jars("mvn", cache=tmp_path / "cache")

    def test_without_maven_it_says_what_to_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(InvalidInput, match="`mvn` is not installed"):
            kafka_jars("mvn", cache=tmp_path / "cache")
