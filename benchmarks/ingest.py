"""`ingest` under load: signed webhooks at a fixed rate on a real Kafka, one event each, and when they are answered.

    python -m benchmarks.ingest --rate 2000 --seconds 20

The rate is kept whatever the answers do (open loop), and a request that waits for a free connection is late from the
moment when it was due, so that a slow server can't slow the load down (coordinated omission).
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from transfer_gate.ingest import standard_webhooks
from transfer_gate.kafka.topics import apply_topics
from transfer_gate.local.kafka import LocalKafka
from transfer_gate.local.loopback import LOOPBACK, free_port
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings

ROOT = Path(__file__).parents[1]
KEY = bytes(range(32))
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # noqa: S105 - of the benchmark
CONNECTIONS = 100
WARM_SECONDS = 3


def request(number: int) -> bytes:
    """A signed request in which one person opts out."""
    event = {"kind": "opt-out", "person": f"p-{number}", "at": "2026-09-14T08:30:11Z", "channels": ["email", "sms"]}
    body = json.dumps({"events": [event]}).encode()
    timestamp = int(time.time())
    signature = standard_webhooks.sign(KEY, f"m-{number}", timestamp, body)
    head = (
        "POST /ingest/signed HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
        f"webhook-id: m-{number}\r\nwebhook-timestamp: {timestamp}\r\nwebhook-signature: {signature}\r\n\r\n"
    )
    return head.encode() + body


class Load:
    """Sends requests when they are due, over connections that stay open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()

    async def run(self, rate: int, seconds: float, first: int) -> None:
        """Send `rate` requests a second; returns when all are answered."""
        senders = [asyncio.create_task(self._send()) for _ in range(CONNECTIONS)]
        begun, count = time.perf_counter(), int(rate * seconds)
        for number in range(count):
            due = begun + number / rate
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            self._due.put_nowait((due, request(first + number)))
        while sum(self.statuses.values()) < count:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.01)
        for sender in senders:
            sender.cancel()

    async def _send(self) -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, self._port)
        while True:
            due, raw = await self._due.get()
            writer.write(raw)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            self.latencies.append(time.perf_counter() - due)
            self.statuses[int(head[9:12])] += 1


def wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/readyz", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("ingest does not become ready")


def measure(rate: int, seconds: float) -> dict[str, Any]:
    """Start Kafka and the service, send, and say how it went."""
    with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder) / "kafka") as kafka:
        place = Path(folder)
        registry = ROOT / "examples" / "registry"
        settings = Settings(
            _env_file=None,  # type: ignore[call-arg]
            bootstrap_servers=kafka.bootstrap_servers,
            security_protocol="PLAINTEXT",
            registry=registry,
            partitions=12,
        )
        asyncio.run(apply_topics(settings, load_registry(registry)))
        (place / "sources").mkdir()
        (place / "sources" / "signed.yaml").write_bytes((ROOT / "examples" / "ingest" / "signed.yaml").read_bytes())
        (place / "signed-secret").write_text(SECRET)
        port, metrics = free_port(), free_port()
        given = {
            "BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "SECURITY_PROTOCOL": "PLAINTEXT",
            "REGISTRY": str(registry),
            "INGEST_SOURCES": str(place / "sources"),
            "INGEST_SECRETS": str(place),
            "INGEST_PORT": str(port),
            "METRICS_PORT": str(metrics),
            "LOG_LEVEL": "warning",
        }
        environment = os.environ | {f"TRANSFER_GATE_{name}": value for name, value in given.items()}
        service = subprocess.Popen([sys.executable, "-m", "transfer_gate", "ingest"], env=environment, cwd=place)
        try:
            wait_until_ready(metrics)
            asyncio.run(Load(port).run(rate, WARM_SECONDS, 0))
            load, process = Load(port), psutil.Process(service.pid)
            before, begun = process.cpu_times(), time.perf_counter()
            asyncio.run(load.run(rate, seconds, 10_000_000))
            took, after = time.perf_counter() - begun, process.cpu_times()
            cpu = after.user + after.system - before.user - before.system
            memory = process.memory_info().rss
        finally:
            service.terminate()
            service.wait(30)
    parts = statistics.quantiles(load.latencies, n=1000)
    return {
        "rate": rate,
        "answered_per_second": round(len(load.latencies) / took),
        "statuses": dict(load.statuses),
        "ms": {
            "p50": round(parts[499] * 1e3, 1),
            "p99": round(parts[989] * 1e3, 1),
            "p999": round(parts[998] * 1e3, 1),
            "max": round(max(load.latencies) * 1e3, 1),
        },
        "cpu_of_one_core": round(cpu / took, 2),
        "rss_mib": memory >> 20,
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    print(json.dumps(measure(given.rate, given.seconds)))


if __name__ == "__main__":
    main()
