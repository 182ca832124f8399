"""The memory of a worker stays below its documented bound (docs/scaling.md), whatever stands in its inputs."""

from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from tests.support.raw_batches import batch, produce
from tests.support.stream_gate import StreamGate, open_gate

MIB: Final = 1 << 20
#: What docs/scaling.md promises of the default settings, without the consent table, bytes.
BOUND: Final = 1024 * MIB
PARTNERS: Final = [f"party-{number:02}" for number in range(50)]
CHANNELS: Final = ("email", "sms", "automated_call", "live_call", "postal")


def transfer_of(gate: StreamGate, number: int) -> tuple[bytes, bytes]:
    """Key and value of 1.35 kB to fifty partners by five channels, one prospect each."""
    prospect = f"p-{number}"
    body: dict[str, Any] = orjson.loads(gate.events.transfer(prospect, f"e-{number}", PARTNERS, CHANNELS))
    body["note"] = "x" * max(0, 1350 - len(orjson.dumps(body)))
    return prospect.encode(), orjson.dumps(body)


async def fill(gate: StreamGate, count: int) -> None:
    for number in range(count):
        key, value = transfer_of(gate, number)
        await gate.producer.send(gate.topics.transfers, value, key, partition=gate.home(key.decode()))
    await gate.producer.flush()


async def fill_with_headers(gate: StreamGate, count: int) -> None:
    """Records just below the largest that are decided, packed to a few kB each."""
    headers: list[tuple[bytes, bytes]] = [(f"header-{number}".encode(), b"h" * 19_000) for number in range(100)]
    for number in range(count):
        key, value = transfer_of(gate, number)
        data = batch([(key, value, headers)], "gzip")
        await produce(gate.place.bootstrap_servers, gate.topics.transfers, gate.home(key.decode()), data)


async def stays_small(bootstrap_servers: str, folder: Path, transfers: int, with_headers: int, patience: float) -> None:
    async with open_gate(bootstrap_servers, folder, partitions=6) as gate:
        gate.worker.freeze()
        await fill(gate, transfers)
        gate.worker.thaw()
        await gate.settled(patience)
        many = gate.worker.peak_bytes
        gate.worker.freeze()
        await fill_with_headers(gate, with_headers)
        gate.worker.thaw()
        await gate.settled(patience)
        large = gate.worker.peak_bytes
        assert many < BOUND, "many partners"
        assert large < BOUND, "large headers"
        gate.place.assert_none_gave_up()


async def test_many_partners_and_large_headers_stay_within_the_bound(bootstrap_servers: str, tmp_path: Path) -> None:
    await stays_small(bootstrap_servers, tmp_path, transfers=2_000, with_headers=12, patience=240)


@pytest.mark.long
async def test_the_rows_of_the_field_stay_within_the_bound(bootstrap_servers: str, tmp_path: Path) -> None:
    await stays_small(bootstrap_servers, tmp_path, transfers=12_000, with_headers=60, patience=900)
