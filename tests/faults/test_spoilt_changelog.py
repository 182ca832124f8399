"""A changelog that a disk has spoilt: no table is restored from what is left of it."""

import asyncio
from pathlib import Path

import pytest

from tests.support.clients import open_producer
from tests.support.disks import spoil
from tests.support.topics import make_topics
from transfer_gate.gate.integrity.logs import HistoryLost
from transfer_gate.gate.table import MemorySlice, restore
from transfer_gate.local.kafka import LocalKafka
from transfer_gate.records.commit_notes import Reach


async def test_a_table_is_not_restored_from_a_changelog_with_spoilt_bytes(tmp_path: Path) -> None:
    """A batch whose checksum is wrong holds states of people, their objections maybe."""
    broker = LocalKafka(tmp_path)
    with broker:
        await make_topics(broker.bootstrap_servers, {"changelog": {}}, 1)
        async with open_producer(broker.bootstrap_servers) as producer:
            for number in range(10):
                await producer.send_and_wait("changelog", b"state", key=b"p-%d" % number)
        await asyncio.to_thread(spoil, broker, "changelog", b"state")
        options = {"bootstrap_servers": broker.bootstrap_servers}
        with pytest.raises(HistoryLost, match="partition 0 of changelog can't be read at offset"):
            await restore(options, "changelog", {0: MemorySlice()}, {0: Reach(0, "now")})
