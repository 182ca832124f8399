"""Records of one round, packed into Kafka record batches (magic 2) by topic and partition."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from transfer_gate.kafka.sizes import ANY_SIZE, Limits, alone
from transfer_gate.records.headers import Headers

#: Soft limit of a batch. A single larger record travels alone, compressed if its topic does not take it otherwise.
BATCH_BYTES: Final = 900_000

_NONE: Final[Sequence[tuple[str, bytes | None]]] = ()


#: aiokafka's DefaultRecordBatchBuilder, or a RawBatch in its place.
Builder: TypeAlias = Any


class _Open:
    """A batch that takes records, and how many it has."""

    __slots__ = ("builder", "count")

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.count = 0


class Batches:
    """Outputs of a round in the order in which they were added; every record goes to the partition of its input.

    The output partition is the input partition, not a hash: a key that was produced wrongly must not move to
    another owner.
    """

    __slots__ = ("_limits", "_open", "full", "partition", "records", "timestamp_ms")

    def __init__(self, partition: int, timestamp_ms: int, limits: Limits = ANY_SIZE) -> None:
        self._limits = limits
        self.partition = partition
        self.timestamp_ms = timestamp_ms
        self.records = 0
        self._open: dict[str, _Open] = {}
        self.full: dict[str, list[tuple[Builder, int]]] = {}

    def add(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = _NONE) -> None:
        """Append one record, stamped with the round's time."""
        begun = self._open.get(topic)
        if begun is None:
            begun = self._open[topic] = _Open(self._builder(topic))
        self.records += 1
        listed = headers if isinstance(headers, list) else list(headers)
        try:
            if begun.builder.append(begun.count, self.timestamp_ms, key, value, listed) is None:
                self.full.setdefault(topic, []).append((begun.builder, begun.count))
                begun.builder, begun.count = self._builder(topic), 0
                begun.builder.append(0, self.timestamp_ms, key, value, listed)
        except UnicodeEncodeError:  # a header name that is not UTF-8: nothing was appended
            self._add_alone(begun, topic, key, value, headers)
            return
        if (
            begun.count == 0
            and begun.builder.size() > self._limits.least
            and not self._limits.plain(topic, key, value, headers)
        ):
            self._add_alone(begun, topic, key, value, headers)
            return
        begun.count += 1

    def _add_alone(self, begun: _Open, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        codec = 0 if self._limits.plain(topic, key, value, headers) else self._limits.codecs.get(topic, 1)
        batches = self.full.setdefault(topic, [])
        if begun.count:
            batches.append((begun.builder, begun.count))
        batches.append((alone(codec, self.timestamp_ms, key, value, headers), 1))
        begun.builder, begun.count = self._builder(topic), 0

    def topics(self) -> list[str]:
        """Topics that got a record."""
        return list(self._open)

    def size(self) -> int:
        """Bytes of all batches, before compression."""
        closed: int = sum(builder.size() for batches in self.full.values() for builder, _ in batches)
        begun: int = sum(last.builder.size() for last in self._open.values())
        return closed + begun

    def close(self) -> dict[str, list[tuple[Builder, int]]]:
        """Topic to its batches in order, each with its number of records."""
        return {
            topic: [*self.full.get(topic, ()), (last.builder, last.count)] if last.count else self.full[topic]
            for topic, last in self._open.items()
        }

    def _builder(self, topic: str) -> DefaultRecordBatchBuilder:
        size = min(BATCH_BYTES, self._limits.bytes_of.get(topic, BATCH_BYTES))
        return DefaultRecordBatchBuilder(
            2, 0, is_transactional=1, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=size
        )
