"""How many prospects an import would change: its events folded onto the states of now, and nothing sent.

Bounded in memory whatever the file and the table hold: events and the states of their prospects go into a temporary
database of SQLite, a file without a name that is gone with the process.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Final
from zlib import crc32

from msgspec import Struct

from transfer_gate.imports.mapper import MappedEvent
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.reader import Offsets, Reader
from transfer_gate.kafka.session import Session
from transfer_gate.model.state import Bounds, OneState
from transfer_gate.records.cloudevents import plain_value
from transfer_gate.records.consents import ConsentFold
from transfer_gate.records.state import decode_state, received_at

#: Bits that stand for the keys of the file: at 10 million keys one of seven others is taken for one of them, and its
#: state is kept in vain.
_BITS: Final = 1 << 26
#: What SQLite holds in memory, KiB.
_CACHE_KIB: Final = 64 << 10
_STATE, _BEFORE, _NEW = range(3)


class Forecast(Struct, frozen=True, kw_only=True):
    """Prospects of a file: all, those whose state would change, and of these the ones that have no state yet."""

    prospects: int
    changed: int
    new: int


class ForecastBook:
    """Takes the events of a file, then the states as they are; then counts."""

    def __init__(self, connection: sqlite3.Connection, most: Bounds) -> None:
        self._connection = connection
        self._bounds = most
        self._keys = bytearray(_BITS >> 3)
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("CREATE TABLE item (key BLOB, kind INTEGER, number INTEGER, value BLOB, received INTEGER)")

    def take(self, events: Sequence[MappedEvent]) -> None:
        """Add events that the import would write."""
        keys = self._keys
        for event in events:
            bit = crc32(event.key) & (_BITS - 1)
            keys[bit >> 3] |= 1 << (bit & 7)
        self._add([(event.key, _NEW, 0, event.value, None) for event in events])

    async def take_states(self, session: Session) -> None:
        """Add what is known of their prospects: the consent changelog, and events that no gate has applied yet.

        Waits for open transactions there, as the gate does. Raises InvalidInput when a topic is missing,
        BrokerUnavailable, AccessDenied.
        """
        topics = session.settings.topics
        counts = await session.cluster.partitions(topics.changelog, topics.consents)
        committed = await session.cluster.committed(session.settings.app_id)
        begins, ends = await session.reader.bounds(counts, committed_only=False)
        await self._read(session.reader, _of(topics.changelog, ends), begins, _STATE)
        starts = {place: max(committed.get(place, 0), begins[place]) for place in ends}
        await self._read(session.reader, _of(topics.consents, ends), starts, _BEFORE)

    def forecast(self) -> Forecast:
        """Fold, prospect by prospect."""
        now = received_at(int(time.time() * 1000))
        consents = ConsentFold(self._bounds)
        prospects = changed = new = 0
        rows = self._connection.execute(
            "SELECT key, kind, number, value, received FROM item ORDER BY key, kind, number"
        )
        for key, items in groupby(rows, key=itemgetter(0)):
            one, fresh, differs, wanted = OneState(key), True, False, False
            for _, kind, offset, value, received in items:
                before = one.state
                if kind == _STATE:
                    one.state, fresh = decode_state(value), value is None
                elif kind == _NEW:
                    wanted = True
                    consents.apply(one, key, value, 0, now)
                    differs = differs or one.state is not before
                else:
                    fresh = False
                    consents.apply(one, key, value, offset, received_at(received))
            prospects += wanted
            changed += differs
            new += differs and fresh
        return Forecast(prospects=prospects, changed=changed, new=new)

    async def _read(self, reader: Reader, ends: Offsets, starts: Offsets, kind: int) -> None:
        behind = {place: end for place, end in ends.items() if starts[place] < end}
        async for records in reader.records(behind, starts):
            self._add(
                [
                    (record.key, kind, record.offset, plain_value(record.value, record.headers), record.timestamp)
                    for record in records
                    if record.key is not None and self._known(record.key)
                ]
            )

    def _known(self, key: bytes) -> bool:
        bit = crc32(key) & (_BITS - 1)
        return bool(self._keys[bit >> 3] & 1 << (bit & 7))

    def _add(self, rows: list[tuple[bytes, int, int, bytes | None, int | None]]) -> None:
        self._connection.executemany("INSERT INTO item VALUES (?, ?, ?, ?, ?)", rows)


@contextmanager
def open_book(most: Bounds) -> Iterator[ForecastBook]:
    """A book for one forecast; `most`: how much the gate keeps of a prospect."""
    with closing(sqlite3.connect("")) as connection:
        yield ForecastBook(connection, most)


def _of(topic: str, ends: Offsets) -> dict[TopicPartition, int]:
    return {place: end for place, end in ends.items() if place.topic == topic}
