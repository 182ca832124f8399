"""Restore a changelog into fresh slices and tell how fast, and what they take: a process of its own for `state`."""

import asyncio
import gc
import os
import sys
import tempfile
import time
from pathlib import Path

import orjson
import psutil

from benchmarks.bench import PARTITIONS
from transfer_gate.gate.table import MemorySlice, Slice, restore
from transfer_gate.records.commit_notes import Reach


async def main() -> None:
    options = {"bootstrap_servers": os.environ["BENCH_BOOTSTRAP_SERVERS"], "client_id": "bench-restore"}
    in_memory = os.environ["BENCH_STORE"] == "memory://"
    with tempfile.TemporaryDirectory() as folder:
        slices = {number: MemorySlice() if in_memory else _rocks(folder, number) for number in range(PARTITIONS)}
        before = psutil.Process().memory_info().rss
        began = time.monotonic()
        await restore(options, os.environ["BENCH_CHANGELOG"], slices, dict.fromkeys(slices, Reach(0, "bench")))
        seconds = time.monotonic() - began
        result: dict[str, float] = {}
        if in_memory:
            gc.collect()
            count = sum(len(table) for table in slices.values())
            json_bytes = sum(len(value) for table in slices.values() for _, value in table.items())
            taken = psutil.Process().memory_info().rss - before
            result = {"json_bytes": json_bytes / count, "bytes_beyond_json": (taken - json_bytes) / count}
        else:
            count = sum(1 for table in slices.values() for _ in table.items())
        for table in slices.values():
            table.close()
    sys.stdout.buffer.write(orjson.dumps({"per_second": count / seconds, **result}) + b"\n")


def _rocks(folder: str, number: int) -> Slice:
    from transfer_gate.gate.rocksdb import RocksSlice

    return RocksSlice(Path(folder) / str(number))


if __name__ == "__main__":
    asyncio.run(main())
