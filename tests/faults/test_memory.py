"""The memory of a worker stays below its documented bound (docs/scaling.md), whatever stands in its inputs."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from tests.support.raw_batches import batch, open_raw
from tests.support.stream_gate import StreamGate, open_gate

MIB: Final = 1 << 20
#: What docs/scaling.md promises of the default settings, without the consent table, bytes.
BOUND: Final = 1024 * MIB
PARTNERS: Final = [f"party-{number:02}" for number in range(50)]
CHANNELS: Final = ("email", "sms", "automated_call", "live_call", "postal")


def transfer_of(gate: StreamGate, number: int, partners: Sequence[str]) -> tuple[bytes, bytes]:
    """Key and value of 1.35 kB to these partners by five channels, one prospect each."""
    prospect = f"p-{number}"
    body: dict[str, Any] = orjson.loads(gate.events.transfer(prospect, f"e-{number}", partners, CHANNELS))
    body["note"] = "x" * max(0, 1350 - len(orjson.dumps(body)))
    return prospect.encode(), orjson.dumps(body)


async def fill(gate: StreamGate, count: int) -> None:
    for number in range(count):
        key, value = transfer_of(gate, number, PARTNERS)
        await gate.producer.send(gate.topics.transfers, value, key, partition=gate.home(key.decode()))
    await gate.producer.flush()


async def fill_with_headers(gate: StreamGate, count: int, size: int, partners: Sequence[str]) -> None:
    """Records with so many bytes of headers, packed to a few kB each."""
    headers: list[tuple[bytes, bytes]] = [(f"header-{number}".encode(), b"h" * (size // 100)) for number in range(100)]
    async with open_raw(gate.place.bootstrap_servers) as produce:
        for number in range(count):
            key, value = transfer_of(gate, number, partners)
            data = batch([(key, value, headers)], "gzip")
            assert await produce(gate.topics.transfers, gate.home(key.decode()), data)


async def stays_small(
    bootstrap_servers: str,
    folder: Path,
    note: Callable[[str, object], None],
    *,
    to_fifty: int,
    large_to_fifty: int,
    patience: float,
) -> None:
    """Each row waits as a whole before the worker goes on."""
    async with open_gate(bootstrap_servers, folder, partitions=6) as gate:
        rows: dict[str, Callable[[], Awaitable[None]]] = {
            "transfers to fifty partners": lambda: fill(gate, to_fifty),
            "a megabyte of headers": lambda: fill_with_headers(gate, 60, MIB, PARTNERS[:1]),
            "the largest headers to fifty partners": lambda: fill_with_headers(
                gate, large_to_fifty, 1_900_000, PARTNERS
            ),
        }
        for row, send in rows.items():
            gate.worker.freeze()
            await send()
            gate.worker.thaw()
            await gate.settled(patience)
            peak = gate.worker.peak_bytes
            note(row, f"{peak / MIB:.0f} MiB")
            print(f"{row}: {peak / MIB:.0f} MiB")  # noqa: T201  (pytest shows it with a failure)
            assert peak < BOUND, row
        gate.place.assert_none_gave_up()


async def test_many_partners_and_large_headers_stay_within_the_bound(
    bootstrap_servers: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    await stays_small(bootstrap_servers, tmp_path, record_property, to_fifty=2_000, large_to_fifty=4, patience=240)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_the_rows_of_the_field_stay_within_the_bound(
    bootstrap_servers: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    await stays_small(bootstrap_servers, tmp_path, record_property, to_fifty=12_000, large_to_fifty=20, patience=900)
