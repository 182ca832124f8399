"""Consent events outside the partition of their key, joined to releases by key: what one partition's history misses.

They come from producers with another partitioner. The gate brings each home by `transfer-gate-strays`; an event that it
never brought, or brought in time, forbids what was decided later. Those from before the topics grew came home when they
did (`topics grow`).
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple

from transfer_gate.auditor.consent_history import LOG_APPEND_TIME
from transfer_gate.kafka.reader import Offsets, committed_records
from transfer_gate.kafka.types import ConsumerRecord, TopicPartition
from transfer_gate.records import headers as names
from transfer_gate.records.partitioner import stray_offset
from transfer_gate.records.placements import UNGROWN, Placements
from transfer_gate.settings import Settings


class Known(NamedTuple):
    """Events of one prospect from other partitions, all acknowledged before a decision: those that the gate could have
    known by then, and those that it had found, but that were still on their way. `home`: all that had come home by the
    decision, whenever they were acknowledged.
    """

    known: Sequence[ConsumerRecord] = ()
    on_their_way: Sequence[ConsumerRecord] = ()
    home: Sequence[ConsumerRecord] = ()


class Astray:
    """Index of misplaced consent events by key; remembers how far it read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._read: dict[TopicPartition, int] = {}
        self._events: dict[bytes, list[ConsumerRecord]] = {}
        #: `stray_offset` and timestamp (ms) of an event to when it was written to the partition of its key, ms. The
        #: timestamp tells it from one that stood there before the topic was made anew.
        self._home: dict[tuple[int, int], int] = {}
        self._placements = UNGROWN

    async def read(self, begins: Offsets, ends: Offsets, placements: Placements) -> None:
        """Read on, to `ends` of `consent-events` and of the strays; from the beginning where the topics have grown
        since. Raises BrokerUnavailable.
        """
        if placements != self._placements:
            self._read, self._events, self._home, self._placements = {}, {}, {}, placements
        starts = {place: max(self._read.get(place, 0), begins[place]) for place in ends}
        left = {place: end for place, end in ends.items() if starts[place] < end}
        if not left:
            return
        async with aclosing(committed_records(self._settings, left, {place: starts[place] for place in left})) as read:
            async for records in read:
                for record in records:
                    self._take(record)
        self._read.update(left)

    def _take(self, record: ConsumerRecord) -> None:
        if record.topic == self._settings.topics.strays:
            sent = dict(record.headers)
            try:
                name = stray_offset(int(sent[names.SOURCE_PARTITION]), int(sent[names.SOURCE_OFFSET]))
                received = int(sent[names.SOURCE_TIMESTAMP_MS])
            except (KeyError, ValueError, TypeError):
                return
            self._home.setdefault((name, received), record.timestamp)
            return
        place = record.topic, record.partition, record.offset, record.key
        moved = self._placements.moved(*place)
        if record.key is not None and (moved or self._placements.misplaced(*place)):
            own = replace(record, offset=stray_offset(record.partition, record.offset))
            self._events.setdefault(record.key, []).append(own)
            if moved:  # home before anything was decided there
                self._home[own.offset, record.timestamp] = 0

    def of(self, key: bytes, partition: int, before_ms: int, decided_ms: int) -> Known:
        """Events of `key` outside `partition` that the broker appended before `before_ms`, and what was home then."""
        known: list[ConsumerRecord] = []
        on_their_way: list[ConsumerRecord] = []
        at_home: list[ConsumerRecord] = []
        for record in self._events.get(key, ()):
            home = self._home.get((record.offset, record.timestamp))
            if record.partition == partition and home == 0:
                continue  # decided beside it, before the topics grew
            if home is not None and home <= decided_ms:
                at_home.append(record)
            if record.partition == partition or record.timestamp >= before_ms:
                continue
            if record.timestamp_type != LOG_APPEND_TIME:
                continue
            (known if home is None or home < before_ms else on_their_way).append(record)
        return Known(known, on_their_way, at_home)
