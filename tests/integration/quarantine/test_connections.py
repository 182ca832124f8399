"""A command that looks through many partitions takes few connections to the brokers."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka.conn import AIOKafkaConnection

from tests.support.command_line import CommandLine
from tests.support.quarantine_backlog import Backlog
from tests.support.registry import write_registry
from tests.support.workers import Installation

PARTITIONS = 12


@contextmanager
def counted_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """Brokers to which connections are opened within, once for each connection."""
    opened: list[tuple[str, int]] = []
    connect = AIOKafkaConnection.connect

    async def count(connection: AIOKafkaConnection) -> object:
        opened.append((connection.host, connection.port))
        return await connect(connection)

    with monkeypatch.context() as patch:
        patch.setattr(AIOKafkaConnection, "connect", count)
        yield opened


def test_a_list_of_twelve_partitions_opens_four_connections(
    bootstrap_servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Admin client and consumer take two each: one to bootstrap, one to the broker. It was two and two a partition."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    place = Installation(bootstrap_servers, write_registry(tmp_path, now), tmp_path, partitions=PARTITIONS)
    place.apply_topics()
    backlog = Backlog(place, 2, now, dt.timedelta(hours=1))
    asyncio.run(backlog.write())
    for name, value in place._environment.items():
        monkeypatch.setenv(name, value)
    run = CommandLine(monkeypatch, capsys, "quarantine")
    with counted_connections(monkeypatch) as opened:
        code, out, err = run("list", "--output", "jsonl")
    assert (code, len(out.splitlines())) == (0, backlog.records), err
    assert len(opened) <= 4, opened
