"""Writes `kafka-jars-4.3.0.json`: `python -m transfer_gate.local.pin 4.3.0` resolves a Kafka release, pins every jar.

Run by maintainers who add a release, never by users.
"""

import argparse
import tempfile
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec
from jgo.maven import MavenContext, PythonResolver

from transfer_gate.local.jars import Jar, Pins, pins_file, sha256

#: What Kafka's tar ball logs with where its POM names no log4j: up to 3.9 reload4j, in 4.0 this log4j (its `libs/`).
_RELOAD4J: Final = (("ch.qos.reload4j", "reload4j", "1.2.25"), ("org.slf4j", "slf4j-reload4j", "1.7.36"))
_LOG4J_OF_4_0: Final = "2.24.3"


def resolve(version: str, work: Path) -> Pins:
    """What the broker of `version` needs at run time.

    `!` keeps jgo from reading Kafka's POM as a bill of materials.
    """
    context = MavenContext(resolver=PythonResolver(), repo_cache=work, timeout=60)
    roots, others = context.resolver.resolve([context.create_dependency(f"org.apache.kafka:kafka_2.13:{version}!")])
    artifacts = [dependency.artifact for dependency in roots + others]
    artifacts += [
        context.project(group, name).at_version(its).artifact() for group, name, its in _logging(version, artifacts)
    ]
    jars = []
    for artifact in artifacts:
        path = artifact.resolve()
        jars.append(Jar(artifact.groupId, artifact.artifactId, artifact.version, sha256(path), path.stat().st_size))
    return Pins(version, tuple(sorted(jars, key=lambda jar: (jar.group, jar.artifact))))


def _logging(version: str, artifacts: Iterable[Any]) -> Iterator[tuple[str, str, str]]:
    """Group, artifact and version of what Kafka's POM leaves to its tar ball: slf4j's binding, or all of its log."""
    if version.startswith("3."):
        yield from _RELOAD4J
        return
    there = {artifact.artifactId: artifact.version for artifact in artifacts}
    log4j = there.get("log4j-core", _LOG4J_OF_4_0)
    for name in ("log4j-api", "log4j-core", "log4j-slf4j-impl"):
        if name not in there:
            yield "org.apache.logging.log4j", name, log4j


def main() -> None:
    """Resolve, download, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", help="a release of Apache Kafka")
    version = parser.parse_args().version
    with tempfile.TemporaryDirectory() as work:
        pinned = resolve(version, Path(work))
    target = Path(str(files(__package__))) / pins_file(version)
    target.write_bytes(msgspec.json.format(msgspec.json.encode(pinned), indent=1) + b"\n")
    print(f"{target}: {len(pinned.jars)} jars, {pinned.size >> 20} MiB")


if __name__ == "__main__":
    main()
