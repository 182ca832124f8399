"""Events per second: the gate, with its full decision and all its guarantees, against a plain Faust agent.

    python -m benchmarks.throughput [--events 100000] [--plain-events 10000] [--runs 3]

Both read the same topics on the same broker, one after the other, several times; the ratio of medians is what counts,
because machines are noisy. The plain agent does less: at least once, a trivial decision, no evidence, stale joins.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks import common
from transfer_gate.local.kafka import LocalKafka


async def gate(kafka: LocalKafka, folder: Path, run: int, events: int) -> dict[str, float]:
    """One measured pass of a fresh worker over everything."""
    settings = common.settings_for(kafka, f"gate-{run}", folder / f"gate-{run}")
    await common.prepare(settings)
    async with common.worker(settings) as process:
        meter = common.Meter(settings, process.pid)
        wall, cpu = await common.until(meter, events, timeout=600)
        return {"rate": events / wall, "per_cpu_second": events / cpu, "memory_mib": meter.memory_mib()}


def plain(kafka: LocalKafka, folder: Path, run: int, events: int) -> dict[str, float]:
    """One measured pass of a plain Faust agent over the first events."""
    environment = os.environ | {
        "TRANSFER_GATE_TOPIC_PREFIX": "bench.",
        "TRANSFER_GATE_APP_ID": f"plain-{run}",
        "TRANSFER_GATE_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "TRANSFER_GATE_DATA_DIR": str(folder / f"plain-{run}"),
        "BENCH_PARTITIONS": str(common.PARTITIONS),
        "BENCH_EVENTS": str(events),
        "BENCH_RESULT": str(folder / f"plain-{run}.json"),
    }
    script = Path(__file__).with_name("plain_faust.py")
    subprocess.run(
        [sys.executable, str(script)], env=environment, check=True, timeout=600, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    result = orjson.loads((folder / f"plain-{run}.json").read_bytes())
    return {"rate": result["events"] / result["wall"], "per_cpu_second": result["events"] / result["cpu"]}


async def run(events: int, plain_events: int, runs: int) -> dict[str, object]:
    """Prepare once, measure in turn."""
    with common.scratch_kafka() as kafka, tempfile.TemporaryDirectory(prefix="transfer-gate-bench-") as name:
        folder = Path(name)
        settings = common.settings_for(kafka, "gate-0", folder / "gate-0")
        await common.prepare(settings)
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
        await admin.start()
        await admin.create_topics(
            [NewTopic(f"bench.plain-{end}", common.PARTITIONS, 1) for end in ("partner", "quarantine")]
        )
        await admin.close()
        people = common.sample(20_000)
        await common.produce(settings, settings.topics.consents, common.well_formed(people.consents()))
        transfers = common.well_formed(people.transfers(events))
        events = await common.produce(settings, settings.topics.transfers, transfers)
        ours, theirs = [], []
        for turn in range(runs):
            ours.append(await gate(kafka, folder, turn, events))
            theirs.append(await asyncio.to_thread(plain, kafka, folder, turn, plain_events))
            print(f"run {turn}: gate {ours[-1]['rate']:.0f}/s, plain Faust {theirs[-1]['rate']:.0f}/s", file=sys.stderr)
        rate, plain_rate = (common.median(one["rate"] for one in many) for many in (ours, theirs))
        return {
            "machine": common.machine(),
            "gate": ours,
            "plain_faust": theirs,
            "ratio": rate / plain_rate,
            "ratio_per_cpu_second": common.median(one["per_cpu_second"] for one in ours)
            / common.median(one["per_cpu_second"] for one in theirs),
        }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--plain-events", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    result = asyncio.run(run(options.events, options.plain_events, options.runs))
    print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
