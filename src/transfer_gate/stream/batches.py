"""Records of one round, packed into Kafka record batches (magic 2) by topic and partition."""

from collections.abc import Sequence
from typing import Final

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from transfer_gate.wire.headers import Headers

#: Soft limit of a batch. A single larger record travels alone: whether it may is the topic's `max.message.bytes`.
BATCH_BYTES: Final = 900_000

_NONE: Final[Sequence[tuple[str, bytes | None]]] = ()


class Batches:
    """Outputs of a round in the order in which they were added; every record goes to the partition of its input.

    The output partition is the input partition, not a hash: a key that was produced wrongly must not move to
    another owner.
    """

    __slots__ = ("_open", "full", "partition", "records", "timestamp_ms")

    def __init__(self, partition: int, timestamp_ms: int) -> None:
        self.partition = partition
        self.timestamp_ms = timestamp_ms
        self.records = 0
        self._open: dict[str, tuple[DefaultRecordBatchBuilder, int]] = {}
        self.full: dict[str, list[tuple[DefaultRecordBatchBuilder, int]]] = {}

    def add(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = _NONE) -> None:
        """Append one record, stamped with the round's time."""
        builder, count = self._open.get(topic) or (self._builder(), 0)
        if builder.append(count, self.timestamp_ms, key, value, list(headers)) is None:
            self.full.setdefault(topic, []).append((builder, count))
            builder, count = self._builder(), 0
            builder.append(0, self.timestamp_ms, key, value, list(headers))
        self._open[topic] = (builder, count + 1)
        self.records += 1

    def topics(self) -> list[str]:
        """Topics that got a record."""
        return list(self._open)

    def close(self) -> dict[str, list[tuple[DefaultRecordBatchBuilder, int]]]:
        """Topic to its batches in order, each with its number of records."""
        return {topic: [*self.full.get(topic, ()), last] for topic, last in self._open.items()}

    @staticmethod
    def _builder() -> DefaultRecordBatchBuilder:
        return DefaultRecordBatchBuilder(
            2, 0, is_transactional=1, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=BATCH_BYTES
        )
