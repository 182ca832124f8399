"""The jars of Apache Kafka, by release: pinned in `kafka-jars-VERSION.json`, downloaded once per user, checked at every
start (SHA-256).
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal, Protocol
from xml.sax.saxutils import escape

import msgspec
from filelock import FileLock

from transfer_gate.errors import BrokerUnavailable, InvalidInput

#: `jgo`: pure Python, from Maven Central. `mvn`: an installed Maven, with the mirrors and proxies of its own settings.
JarSource = Literal["jgo", "mvn"]

#: Room that must be free before a download, as a multiple of the size of the jars (download, then a copy).
_ROOM: Final = 2
_HTTP_TIMEOUT: Final = 30

_PREFIX: Final = "kafka-jars-"
_SUFFIX: Final = ".json"


class Progress(Protocol):
    """Called with how far the download is, both in bytes; often, from the downloading thread."""

    def __call__(self, done: int, total: int, /) -> None:
        """`done` of `total` bytes are here."""


class Jar(msgspec.Struct, frozen=True):
    """One pinned file of Maven Central."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """File name, the same in every repository."""
        return f"{self.artifact}-{self.version}.jar"


class Pins(msgspec.Struct, frozen=True):
    """What a release of Apache Kafka consists of."""

    kafka: str
    jars: tuple[Jar, ...]

    @property
    def size(self) -> int:
        """Bytes of all jars together."""
        return sum(jar.size for jar in self.jars)


def kafka_versions() -> tuple[str, ...]:
    """The releases that are pinned, oldest first; the last one is started unless another is given."""
    names = (file.name for file in files(__package__).iterdir())
    found = (name.removeprefix(_PREFIX).removesuffix(_SUFFIX) for name in names if name.startswith(_PREFIX))
    return tuple(sorted(found, key=release))


def release(version: str) -> tuple[int, ...]:
    """`4.0.1` as numbers, to be compared."""
    return tuple(map(int, version.split(".")))


def pins_file(version: str) -> str:
    """Name of the file, in this package, that pins the jars of a release."""
    return f"{_PREFIX}{version}{_SUFFIX}"


def pins(version: str | None = None) -> Pins:
    """The jars of a release, by default of the newest. Raises InvalidInput for one that is not pinned."""
    known = kafka_versions()
    if version is not None and version not in known:
        raise InvalidInput(f"Apache Kafka {version} is not pinned", do=f"choose one of {', '.join(known)}")
    return msgspec.json.decode((files(__package__) / pins_file(version or known[-1])).read_bytes(), type=Pins)


def cache_folder() -> Path:
    """Where downloads of this user live: `$XDG_CACHE_HOME/transfer-gate`, else `~/.cache/transfer-gate`.

    Source: XDG Base Directory Specification 0.8; a relative XDG_CACHE_HOME is ignored, as it demands.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "transfer-gate"


def kafka_jars(
    source: JarSource = "jgo",
    progress: Progress | None = None,
    *,
    version: str | None = None,
    cache: Path | None = None,
) -> list[Path]:
    """Paths of all jars of a release, by default of the newest, sorted by name; downloads what is missing or damaged.

    Starters that run at the same time wait for one another; a file appears in the cache only when it is whole and its
    checksum holds. Raises BrokerUnavailable without network or disk, InvalidInput when `source` isn't installed or the
    release is not pinned.
    """
    wanted = pins(version)
    return sorted(fetched(wanted.jars, (cache or cache_folder()) / f"kafka-{wanted.kafka}", source, progress))


def fetched(
    jars: Sequence[Jar], folder: Path, source: JarSource = "jgo", progress: Progress | None = None
) -> list[Path]:
    """Paths of `jars` in `folder`, in their order; downloads what is missing or damaged there, as `kafka_jars` does."""
    if not _missing(jars, folder):
        return [folder / jar.name for jar in jars]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if missing := _missing(jars, folder):
                _require_room(folder, sum(jar.size for jar in missing))
                with tempfile.TemporaryDirectory(prefix=".download-", dir=folder.parent) as work:
                    fetch = _fetch_with_jgo if source == "jgo" else _fetch_with_mvn
                    for jar, path in fetch(missing, Path(work), progress):
                        _check(jar, path)
                        path.replace(folder / jar.name)
    except OSError as error:
        raise BrokerUnavailable(
            f"can't write the jars to {folder}: {error.strerror or error}",
            do="free some space, or set XDG_CACHE_HOME to a folder that can be written",
        ) from error
    return [folder / jar.name for jar in jars]


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _missing(jars: Sequence[Jar], folder: Path) -> list[Jar]:
    return [jar for jar in jars if not _holds(jar, folder / jar.name)]


def _holds(jar: Jar, path: Path) -> bool:
    return path.is_file() and path.stat().st_size == jar.size and sha256(path) == jar.sha256


def _check(jar: Jar, path: Path) -> None:
    if not _holds(jar, path):
        raise BrokerUnavailable(
            f"{jar.name} is not the file that was pinned: its SHA-256 is {sha256(path)}, not {jar.sha256}",
            do="try again; if it happens again, something between here and Maven Central changes files",
        )


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed * _ROOM:
        raise BrokerUnavailable(
            f"{needed * _ROOM >> 20} MiB are needed in {folder}, {free >> 20} MiB are free",
            do="free some space, or set XDG_CACHE_HOME to a folder on another disk",
        )


def _fetch_with_jgo(wanted: list[Jar], work: Path, progress: Progress | None) -> Iterator[tuple[Jar, Path]]:
    try:
        import requests
        from jgo.maven import MavenContext, PythonResolver
    except ImportError:
        raise InvalidInput(
            "the PyPI package `jgo` is not installed", do="pip install 'transfer-gate[local]', or use --jars mvn"
        ) from None
    total, done = sum(jar.size for jar in wanted), 0

    @contextmanager
    def report(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        received = 0

        def advance(count: int) -> None:
            nonlocal received
            received += count
            if progress is not None:
                progress(done + received, total)

        yield advance

    # Everything that jgo writes goes into `work`: no ~/.m2 and no ~/.cache/jgo is read or written.
    context = MavenContext(
        resolver=PythonResolver(progress_callback=report), repo_cache=work / "repository", timeout=_HTTP_TIMEOUT
    )
    for jar in wanted:
        artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
        try:
            path = artifact.resolve()
        # requests for a connection that fails, RuntimeError for an answer other than 200.
        except (requests.RequestException, RuntimeError) as error:
            raise BrokerUnavailable(
                f"can't download {jar.name} from Maven Central ({type(error).__name__})",
                do="check the network and HTTPS_PROXY and start again (finished files are kept), or use --jars mvn, "
                "or point TRANSFER_GATE_BOOTSTRAP_SERVERS at a Kafka that already runs",
            ) from error
        done += jar.size
        if progress is not None:
            progress(done, total)
        yield jar, path


def _fetch_with_mvn(wanted: list[Jar], work: Path, progress: Progress | None) -> Iterator[tuple[Jar, Path]]:
    maven = shutil.which("mvn")
    if maven is None:
        raise InvalidInput("`mvn` is not installed", do="install Apache Maven, or leave --jars away")
    (work / "pom.xml").write_text(_pom(wanted), encoding="utf-8")
    # -B: no colours, no questions; Maven's own settings.xml (mirrors, proxies, local repository) stays in force.
    command = [maven, "-B", "-q", "-f", str(work / "pom.xml"), "dependency:copy-dependencies"]
    command += [f"-DoutputDirectory={work / 'jars'}", "-DexcludeTransitive=true"]
    run = subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        lines = [line for line in (run.stdout + run.stderr).splitlines() if "ERROR" in line]
        raise BrokerUnavailable(
            f"mvn can't fetch jars: {lines[0] if lines else f'exit code {run.returncode}'}",
            do="run mvn by hand to see why, or leave --jars away",
        )
    done, total = 0, sum(jar.size for jar in wanted)
    for jar in wanted:
        yield jar, work / "jars" / jar.name
        done += jar.size
        if progress is not None:
            progress(done, total)


def _pom(wanted: list[Jar]) -> str:
    dependencies = "".join(
        f"<dependency><groupId>{escape(jar.group)}</groupId><artifactId>{escape(jar.artifact)}</artifactId>"
        f"<version>{escape(jar.version)}</version></dependency>"
        for jar in wanted
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>local</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )
