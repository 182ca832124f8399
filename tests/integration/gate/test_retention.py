"""What quarantine has deleted is forgotten by the next worker's sweep, and what was settled stays settled."""

import asyncio
import base64
import time
from pathlib import Path
from typing import Final

import pytest

from tests.support.clients import read_all
from tests.support.replays import held_transfer, send_back
from tests.support.stream_gate import StreamGate, open_launched_gate
from tests.support.workers import PATIENCE
from transfer_gate.gate.inbox import Record
from transfer_gate.records.quarantined import decode_quarantined
from transfer_gate.records.sealing import KEY_BYTES

#: Longer ago than quarantine keeps records for certain (30 days, segments of 7, and a day).
AGO: Final = -60 * 86_400

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def last(gate: StreamGate, topic: str) -> dict[bytes, bytes | None]:
    """The last committed value of every key of a compacted topic."""
    records: list[Record] = [record async for record in read_all(gate.place.bootstrap_servers, [topic], 1)]
    return {record.key or b"": record.value for record in records}


async def test_what_quarantine_has_deleted_is_forgotten_and_stays_settled(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    (tmp_path / "clock-0").write_text(str(AGO), encoding="ascii")
    keys = tmp_path / "keys"
    keys.write_text(base64.b64encode(b"1" * KEY_BYTES).decode(), encoding="ascii")
    launched = open_launched_gate(
        bootstrap_servers, tmp_path, "with_settable_clock", partitions=1, quarantine_key_file=keys
    )
    async with launched as gate:
        sent, record = await held_transfer(gate, "long-ago")
        junk = [await gate.send(gate.topics.transfers, b"junk", key) for key in (b"nobody", None)]
        await send_back(gate, record, action="discard", why="test")
        await gate.settled()
        held = decode_quarantined(record.headers).quarantine_id.encode()
        before = await last(gate, gate.topics.ledger)
        assert before[held] is not None
        sealed = await last(gate, gate.topics.changelog)
        assert {b"long-ago", b"nobody"} < sealed.keys()
        assert None not in sealed.values()
        code, _ = await gate.worker.terminate()
        assert code == 0
        await gate.place.start_worker().until_ready()
        deadline = time.monotonic() + PATIENCE
        while set((await last(gate, gate.topics.changelog)).values()) != {None}:
            assert time.monotonic() < deadline, gate.place.tails()
            await asyncio.sleep(0.1)
        assert set((await last(gate, gate.topics.ledger)).values()) == {None}
        await send_back(gate, record)
        await gate.settled()
        outputs = await gate.outputs()
        assert [len(outputs.held(one)) for one in (sent, *junk)] == [1, 1, 1]
        assert (await last(gate, gate.topics.ledger))[held] is None
