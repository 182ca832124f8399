"""Hostile records of every kind on a live worker: it stays up and small, and everything is accounted for."""

import asyncio
import datetime as dt
import os
import random
from pathlib import Path
from typing import Final

import orjson
import pytest

from tests.support.events import Events
from tests.support.raw_batches import CODECS, Raw, batch, open_raw
from tests.support.stream_gate import open_gate
from tests.support.workers import PATIENCE

MIB: Final = 1 << 20
#: What the worker may hold at its peak, bytes; docs/scaling.md promises less than twice as much of any input.
MOST_MEMORY: Final = 512 * MIB
#: How many the long form sends.
RECORDS: Final = int(os.environ.get("FUZZ_RECORDS", "100000"))
#: Repeats a run that failed.
SEED: Final = int(os.environ.get("FUZZ_SEED", "0")) or random.randrange(1 << 32)
EVENTS: Final = Events(dt.datetime.now(dt.UTC))
NASTY: Final = (
    b"", b"{", b"[" * 5000, b"nul", b"\xef\xbb\xbf{}", b'{"a":1,"a":2}', b"NaN", b"1e999999", b'"\\ud800"', b"{}\x00",
    "{}".encode("utf-16"), b'{"prospect_id":"\xff"}', b"\x00" * 40, b'{"event_id":' + b"9" * 5000 + b"}",
)  # fmt: skip


def hostile(chance: random.Random, number: int) -> Raw:
    """One record: an ordinary event, changed somewhere, under any key and headers."""
    prospect = f"fuzz-{chance.randrange(20)}"
    make = chance.choice((EVENTS.transfer, EVENTS.consent))
    value: bytes | None = make(prospect, f"e-{number}")
    assert value is not None
    match chance.randrange(9):
        case 0:
            value = chance.choice(NASTY)
        case 1:
            value = None
        case 2:
            place = chance.randrange(len(value))
            value = value[:place] + chance.randbytes(chance.randrange(4)) + value[place + chance.randrange(3) :]
        case 3:
            body = orjson.loads(value)
            body[chance.choice(list(body))] = chance.choice((None, "", 7, [], {}, "x" * 300, [None], -1e300))
            value = orjson.dumps(body)
        case 4:
            value = bytes(chance.choice((100, 900_000, 3 * MIB, 9 * MIB))) if chance.random() < 0.2 else b"\xff" * 100
        case _:
            pass
    key: bytes | None = prospect.encode()
    if chance.random() < 0.15:
        key = chance.choice(
            (None, b"", b"\xff\xfe", b"k" * 600, b"fuzz-1", b"k" * 400_000 if chance.random() < 0.1 else b"k")
        )
    headers: list[tuple[bytes, bytes | None]] = []
    if chance.random() < 0.3:
        names = (b"tg-attempt", b"d\xe9p", b"", b"\x00", b"tg-reference", chance.randbytes(5), b"n" * 300)
        headers = [(chance.choice(names), chance.choice((None, b"", b"7", chance.randbytes(30)))) for _ in range(3)]
        if chance.random() < 0.05:
            headers = [(b"", None)] * 2000
    return key, value, headers


async def fuzz(bootstrap_servers: str, folder: Path, records: int, patience: float = PATIENCE) -> None:
    chance = random.Random(SEED)
    async with open_gate(bootstrap_servers, folder, partitions=2) as gate, open_raw(bootstrap_servers) as produce:
        sent, batches, refused = 0, 0, 0
        while sent < records:
            some = [hostile(chance, sent + n) for n in range(chance.randrange(1, 30))]
            codec = chance.choice(list(CODECS))
            if sum(len(value or b"") for _, value, _ in some) > 900_000:
                codec = "gzip"
            topic = chance.choice((gate.topics.transfers, gate.topics.consents, gate.topics.replay))
            taken = await produce(topic, chance.randrange(2), batch(some, codec))
            batches += 1
            refused += not taken
            sent += len(some) if taken else 0
        await gate.settled(patience)
        largest = gate.worker.peak_bytes
        note = f"{sent} records, {refused} of {batches} batches refused, peak {largest / MIB:.0f} MiB, FUZZ_SEED={SEED}"
        print(note)  # noqa: T201  (pytest shows it with a failure)
        assert gate.worker.running, note
        assert len(gate.place.workers) == 1, note
        assert largest < MOST_MEMORY, note
        assert "Traceback" not in gate.worker.log.read_text(encoding="utf-8"), note
        assert refused < batches / 2, note
        code, counts = await asyncio.to_thread(gate.place.verify, patience)
        assert (code, counts["missing"], counts["duplicated"], counts["misrouted"]) == (0, 0, 0, 0), f"{counts} {note}"


async def test_hundreds_of_hostile_records_are_accounted_for(bootstrap_servers: str, tmp_path: Path) -> None:
    await fuzz(bootstrap_servers, tmp_path, 400)


@pytest.mark.long
@pytest.mark.timeout(7200)
async def test_a_hundred_thousand_hostile_records_are_accounted_for(bootstrap_servers: str, tmp_path: Path) -> None:
    await fuzz(bootstrap_servers, tmp_path, RECORDS, patience=900)
