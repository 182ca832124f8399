"""Who is measured: the gate, and the peers with what each of them promises."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from benchmarks.bench import BENCH_PYTHON, PARTITIONS, ROOT, Bench, Process
from benchmarks.events import Events
from transfer_gate.local.java import find_java
from transfer_gate.model.topics import Topics
from transfer_gate.registry import load_registry

JARS: Final = ROOT / "benchmarks" / "kafka-streams" / "target"


class Rival(Struct, frozen=True):
    """One way to do the work. `module` is in `benchmarks.peers`, or empty for the gate and for Java."""

    name: str
    title: str
    promises: str
    module: str = ""
    python: Path | None = None
    guarantee: str = ""


GATE: Final = Rival("gate", "transfer-gate", "the full decision; exactly once, read barrier, evidence")
PLAIN_FAUST: Final = Rival(
    "plain-faust", "Faust agent", "at least once, joins with stale consent", "plain_faust", Path(sys.executable)
)
AIOKAFKA: Final = Rival(
    "aiokafka", "bare aiokafka loop", "at least once, no group, no changelog", "bare_aiokafka", Path(sys.executable)
)
CONFLUENT: Final = Rival(
    "confluent", "bare confluent-kafka loop", "exactly once, no group, no changelog", "bare_confluent", BENCH_PYTHON
)
QUIX: Final = Rival("quixstreams", "quixstreams", "at least once, no read barrier", "quixstreams_join", BENCH_PYTHON)
STREAMS_ALO: Final = Rival(
    "streams-alo", "Kafka Streams at_least_once", "at least once, no read barrier", guarantee="at_least_once"
)
STREAMS_EOS: Final = Rival(
    "streams-eos", "Kafka Streams exactly_once_v2", "exactly once, no read barrier", guarantee="exactly_once_v2"
)
ALL: Final = (GATE, STREAMS_EOS, STREAMS_ALO, QUIX, PLAIN_FAUST, CONFLUENT, AIOKAFKA)
BY_NAME: Final = {rival.name: rival for rival in ALL}


class Entry(Struct, frozen=True):
    """A rival that runs: its processes, all topics that it writes to, and where held transfers go.

    `counted` are those of the topics that tell how far it is, with `expected` records at the end.
    """

    processes: Sequence[Process]
    outputs: Sequence[str]
    counted: Sequence[str]
    quarantine: str
    expected: int


async def enter(
    bench: Bench, rival: Rival, events: Events, prefix: str, turn: str, workers: int = 1, **more: Any
) -> Entry:
    """Start a rival on the loaded topics under `prefix`, with a group and state of its own.

    `more` are settings of the gate.
    """
    group = f"{rival.name}-{turn}"
    if rival is GATE:
        settings = bench.settings(group, events, prefix, **more)
        await bench.topics_of(settings)
        topics = settings.topics
        partners = list(topics.partners(load_registry(events.registry)).values())
        processes = [bench.worker(settings)]
        for number in range(1, workers):
            another = bench.settings(group, events, prefix, **more)
            processes.append(bench.worker(another, f"worker-{number}"))
        return Entry(processes, [*partners, topics.quarantine], [topics.decisions], topics.quarantine, events.decisions)
    topics = Topics(prefix, group)
    partner, quarantine = f"{prefix}{group}-partner", f"{prefix}{group}-quarantine"
    await bench.create(partner, quarantine)
    environment = {
        "BENCH_BOOTSTRAP_SERVERS": bench.bootstrap_servers,
        "BENCH_GROUP": group,
        "BENCH_PARTITIONS": str(PARTITIONS),
        "BENCH_TRANSFERS": topics.transfers,
        "BENCH_CONSENTS": topics.consents,
        "BENCH_PARTNER": partner,
        "BENCH_QUARANTINE": quarantine,
        "BENCH_DATA_DIR": str(bench.folder / group),
        "BENCH_GUARANTEE": rival.guarantee,
        "BENCH_THREADS": "1",
    }
    log = bench.folder / group / "peer.log"
    process = Process(_command(rival), environment, log)
    return Entry([process], [partner, quarantine], [partner, quarantine], quarantine, events.transfer_count)


def _command(rival: Rival) -> list[str]:
    if rival.python is not None:
        return [str(rival.python), "-m", f"benchmarks.peers.{rival.module}"]
    classpath = f"{JARS / 'kafka-streams-join-1.jar'}:{JARS / 'dependency' / '*'}"
    return [str(find_java()), "-cp", classpath, "bench.Join"]
