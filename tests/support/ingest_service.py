"""`transfer-gate ingest` as a process of its own, and requests to it as platforms send them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from transfer_gate.ingest import standard_webhooks
from transfer_gate.local.loopback import LOOPBACK, free_port

SOURCES: Final = Path(__file__).parents[2] / "examples" / "ingest"
PATIENCE: Final = 60.0
KEY: Final = bytes(range(32))
SECRETS: Final = {
    "didomi-token": "a-token-of-the-tests\nanother-token-of-the-tests\n",
    "onetrust-password": "a-password-of-the-tests\n",
    "signed-secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
    "client-secret": "the-new-secret-of-a-client\nthe-old-secret-of-a-client\n",
}


def write_secrets(folder: Path) -> Path:
    """A folder of secrets for the sources of the tests."""
    folder.mkdir(exist_ok=True)
    for name, secret in SECRETS.items():
        (folder / name).write_text(secret, encoding="utf-8")
    return folder


def signed(body: bytes, *, at: float | None = None, message_id: str = "msg_1", key: bytes = KEY) -> dict[str, str]:
    """Headers of a body that is signed as Standard Webhooks has it."""
    timestamp = int(time.time() if at is None else at)
    return {
        standard_webhooks.ID: message_id,
        standard_webhooks.TIMESTAMP: str(timestamp),
        standard_webhooks.SIGNATURE: standard_webhooks.sign(key, message_id, timestamp, body),
    }


def opt_outs(*people: str, at: str = "2026-09-14T08:30:11Z") -> bytes:
    """A body of the signed source in which these people opt out."""
    return json.dumps({"events": [{"kind": "opt-out", "person": who, "at": at} for who in people]}).encode()


class IngestService:
    """The service, listening on a port of its own; a context, at whose end it is killed if it still runs."""

    def __init__(
        self, environment: Mapping[str, str], folder: Path, sources: Path = SOURCES, *, name: str = "ingest"
    ) -> None:
        """Nothing is started. `environment`: settings of the cluster; `name`: of its log file."""
        self.port, self.metrics_port = free_port(), free_port()
        self._log = folder / f"{name}.log"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TRANSFER_GATE_")},
            **environment,
            "TRANSFER_GATE_INGEST_SOURCES": str(sources),
            "TRANSFER_GATE_INGEST_SECRETS": str(write_secrets(folder / "secrets")),
            "TRANSFER_GATE_INGEST_PORT": str(self.port),
            "TRANSFER_GATE_METRICS_PORT": str(self.metrics_port),
            "TRANSFER_GATE_LOG_FORMAT": "json",
        }
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def address(self) -> str:
        """Where it takes requests."""
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self, *, ready: bool = True) -> None:
        """Start it, and wait until it is ready, or only answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                [sys.executable, "-m", "transfer_gate", "ingest"],
                env=self._environment,
                cwd=self._log.parent,
                stderr=log,
            )
        await self.until(lambda: self._answers("/readyz" if ready else "/healthz"), "ready")

    async def until(self, holds: Any, what: str) -> None:
        """Wait until something holds. Raises AssertionError with the end of the log."""
        deadline = time.monotonic() + PATIENCE
        while not await holds():
            assert self._process is not None
            assert self._process.poll() is None, f"ended with {self._process.returncode}: {self.log()}"
            assert time.monotonic() < deadline, f"not {what}: {self.log()}"
            await asyncio.sleep(0.05)

    async def _answers(self, path: str) -> bool:
        try:
            return (await self.get(path))[0] == 200
        except aiohttp.ClientError:
            return False

    async def get(self, path: str) -> tuple[int, str]:
        """An answer of the metrics port."""
        address = f"http://{LOOPBACK}:{self.metrics_port}{path}"
        async with aiohttp.ClientSession() as session, session.get(address) as answer:
            return answer.status, await answer.text()

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of a metric with these labels."""
        _, text = await self.get("/metrics")
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = [line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(want in line for want in wanted))

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE)

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, PATIENCE)

    async def ended(self) -> int:
        """Its exit code, once it ends by itself."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, PATIENCE)

    def log(self) -> str:
        """Everything that it wrote to stderr."""
        return self._log.read_text(encoding="utf-8")


async def post(
    service: IngestService, source: str, body: bytes, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any], Mapping[str, str]]:
    """Status, answer and headers of one request."""
    address = f"{service.address}/ingest/{source}"
    async with aiohttp.ClientSession() as session, session.post(address, data=body, headers=headers) as answer:
        told = await answer.read()
        return answer.status, json.loads(told) if told.startswith(b"{") else {}, answer.headers


async def post_all(service: IngestService, source: str, bodies: Sequence[tuple[bytes, Mapping[str, str]]]) -> list[int]:
    """Statuses of requests that are sent at once."""
    async with aiohttp.ClientSession() as session:

        async def one(body: bytes, headers: Mapping[str, str]) -> int:
            async with session.post(f"{service.address}/ingest/{source}", data=body, headers=headers) as answer:
                await answer.read()
                return answer.status

        return await asyncio.gather(*(one(body, headers) for body, headers in bodies))
