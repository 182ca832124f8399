"""Committed records of several topics, each read forward at a pace of its own, without a consumer group."""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition
from msgspec import Struct

from transfer_gate.errors import BrokerUnavailable
from transfer_gate.kafka.bulk import BulkConsumer
from transfer_gate.kafka.clients import client_options, stop_consumer
from transfer_gate.settings import Settings

#: Kafka looks for timed-out transactions every 10 s; with room for a slow broker, seconds.
_ABORT_SECONDS: Final = 30.0
_POLL_MS: Final = 200
_BATCH: Final = 1000
_FETCH_BYTES: Final = 1 << 20
#: So many offsets ahead it is quicker to read on than to fetch anew.
_NEAR: Final = 2000


class Span(Struct):
    """What is to be read of one partition: from `position`, which moves, up to `end` (exclusive)."""

    position: int
    end: int


class SpanReader:
    """One `read_committed` consumer. What a span's end cuts off is read again with the next span."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = BulkConsumer(
            settings.client_rack,
            **client_options(settings),
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=_FETCH_BYTES,
            fetch_max_wait_ms=100,
        )
        self._patience = settings.transaction_timeout_seconds + _ABORT_SECONDS
        self._spans: Mapping[TopicPartition, Span] = {}

    async def start(self) -> None:
        """Connect."""
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect."""
        await stop_consumer(self._consumer)

    def turn_to(self, spans: Mapping[TopicPartition, Span]) -> None:
        """Read these from now on; their positions are moved as they are read."""
        self._spans = spans
        self._assign()

    def seek(self, place: TopicPartition, position: int) -> None:
        """Go on reading elsewhere."""
        self._spans[place].position = position
        if place in self._consumer.assignment():
            self._consumer.seek(place, position)
        else:
            self._assign()

    async def more(self, place: TopicPartition) -> list[ConsumerRecord]:
        """The next records in order; none at the end of the span.

        Waits for transactions that are open below the end. Raises BrokerUnavailable when one outlives its timeout, or
        the broker stops answering.
        """
        span = self._spans.get(place)
        deadline = time.monotonic() + self._patience
        while span is not None and span.position < span.end:
            fetched = await self._consumer.getmany(place, timeout_ms=_POLL_MS, max_records=_BATCH)
            position = await self._consumer.position(place)
            moved = position != span.position
            span.position = min(position, span.end)
            records = [record for record in fetched.get(place, ()) if record.offset < span.end]
            if records:
                return records
            if moved:
                deadline = time.monotonic() + self._patience
            elif time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"nothing more to read of {place.topic}/{place.partition} for {self._patience:.0f} s, at offset "
                    f"{span.position} of {span.end}",
                    do="a transaction hangs there, or the broker is gone: see kafka-transactions.sh find-hanging",
                )
        return []

    def _assign(self) -> None:
        unread = {place: span for place, span in self._spans.items() if span.position < span.end}
        self._consumer.assign(list(unread))
        for place, span in unread.items():
            self._consumer.seek(place, span.position)


class Lookup:
    """Single records of one partition by offset, mostly in ascending order."""

    def __init__(self, settings: Settings) -> None:
        self._reader = SpanReader(settings)
        self._place: TopicPartition | None = None
        self._span = Span(0, 0)
        self._records: Sequence[ConsumerRecord] = ()
        self._from = 0

    async def start(self) -> None:
        """Connect."""
        await self._reader.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._reader.stop()

    def turn_to(self, place: TopicPartition, begin: int, end: int) -> None:
        """Look at another partition, of which the offsets from `begin` up to `end` are there."""
        self._place, self._span = place, Span(begin, end)
        self._records, self._from = (), begin
        self._reader.turn_to({place: self._span})

    async def at(self, offset: int) -> ConsumerRecord | None:
        """The committed record at `offset`; None when there is none. Raises what `SpanReader.more` raises."""
        place = self._place
        if place is None or offset >= self._span.end:
            return None
        if not self._from <= offset <= self._span.position + _NEAR:
            self._reader.seek(place, offset)
            self._records, self._from = (), offset
        while offset >= self._span.position:
            self._from = self._span.position
            self._records = await self._reader.more(place)
        return next((record for record in self._records if record.offset == offset), None)
