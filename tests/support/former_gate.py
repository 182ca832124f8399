"""A gate that looks neither at places nor at the lives of topics, in the process of a test: what it lets slip is what
`audit` and `verify` have to find."""

import datetime as dt
from typing import Any, cast

from tests.support.clients import open_producer, read_all
from transfer_gate.gate.inbox import Record
from transfer_gate.gate.outputs import Output
from transfer_gate.gate.round import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, Tables
from transfer_gate.kafka.batches import Batches
from transfer_gate.model.registry import Registry
from transfer_gate.model.topics import Topics


class FormerGate:
    """Folds and decides with the rounds of the real gate, for which every key is at home everywhere and every topic the
    first of its name; commits neither offsets nor notes.
    """

    def __init__(self, bootstrap_servers: str, topics: Topics, registry: Registry) -> None:
        self._servers = bootstrap_servers
        self._book = Rulebook.of(topics, registry)
        self._tables: dict[int, Tables] = {}
        self._next: dict[tuple[str, int], int] = {}

    def begin_anew(self, topic: str) -> None:
        """Read a topic from its beginning, as whoever finds the place in it gone."""
        self._next = {place: offset for place, offset in self._next.items() if place[0] != topic}

    async def work(self, partitions: int) -> None:
        """Decide what stands in the inputs, some seconds after it was acknowledged."""
        at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
        waiting: dict[tuple[str, int], list[Record]] = {}
        async for record in read_all(self._servers, [self._book.consents, self._book.transfers], partitions):
            place = record.topic, record.partition
            if record.offset >= self._next.get(place, 0):
                waiting.setdefault(place, []).append(record)
        for number in range(partitions):
            consents = waiting.get((self._book.consents, number), [])
            transfers = waiting.get((self._book.transfers, number), [])
            await self._round(number, at, consents, transfers)

    async def _round(self, number: int, at: dt.datetime, consents: list[Record], transfers: list[Record]) -> None:
        tables = self._tables.setdefault(number, Tables(MemorySlice(), MemorySlice()))
        for topic, records in ((self._book.consents, consents), (self._book.transfers, transfers)):
            if records:
                self._next[topic, number] = records[-1].offset + 1
        position = self._next.get((self._book.consents, number), 0)
        decided = Round(self._book, tables, number, at)
        written = _Outputs(int(at.timestamp() * 1000))
        decided.batches = cast("Batches", written)
        assert decided.fold(consents) == len(consents)
        assert not transfers or decided.decide(transfers, position) == len(transfers)
        decided.close()
        tables.consent.update(decided.changes, position)
        async with open_producer(self._servers) as producer:
            for topic, key, value, headers in written.outputs:
                await producer.send_and_wait(topic, value, key, partition=number, headers=list(headers))


class _Outputs:
    """In place of the batches of a round."""

    def __init__(self, timestamp_ms: int) -> None:
        self.timestamp_ms = timestamp_ms
        self.outputs: list[Output] = []

    def add(self, topic: str, key: bytes | None, value: bytes | None, headers: Any = ()) -> None:
        self.outputs.append((topic, key, value, headers))
