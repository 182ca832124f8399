"""Writes `kafka-jars.json`: `python -m transfer_gate.local.pin 4.3.0` resolves a Kafka release and pins every jar.

Run by whoever upgrades Kafka, never by users.
"""

import argparse
import tempfile
from importlib.resources import files
from pathlib import Path

import msgspec
from jgo.maven import MavenContext, PythonResolver

from transfer_gate.local.jars import Jar, Pins, sha256


def resolve(version: str, work: Path) -> Pins:
    """What the broker of `version` needs at run time.

    `!` keeps jgo from reading Kafka's POM as a bill of materials. Kafka's POM leaves the binding of slf4j to log4j to
    its tar ball, so it is added here, at the version of the log4j that Kafka brings.
    """
    context = MavenContext(resolver=PythonResolver(), repo_cache=work, timeout=60)
    roots, others = context.resolver.resolve([context.create_dependency(f"org.apache.kafka:kafka_2.13:{version}!")])
    artifacts = [dependency.artifact for dependency in roots + others]
    log4j = next(artifact for artifact in artifacts if artifact.artifactId == "log4j-core")
    artifacts.append(context.project(log4j.groupId, "log4j-slf4j-impl").at_version(log4j.version).artifact())
    jars = []
    for artifact in artifacts:
        path = artifact.resolve()
        jars.append(Jar(artifact.groupId, artifact.artifactId, artifact.version, sha256(path), path.stat().st_size))
    return Pins(version, tuple(sorted(jars, key=lambda jar: (jar.group, jar.artifact))))


def main() -> None:
    """Resolve, download, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", help="a release of Apache Kafka")
    version = parser.parse_args().version
    with tempfile.TemporaryDirectory() as work:
        pinned = resolve(version, Path(work))
    target = Path(str(files(__package__) / "kafka-jars.json"))
    target.write_bytes(msgspec.json.format(msgspec.json.encode(pinned), indent=1) + b"\n")
    print(f"{target}: {len(pinned.jars)} jars, {pinned.size >> 20} MiB")


if __name__ == "__main__":
    main()
