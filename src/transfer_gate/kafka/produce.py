"""Produce requests: which batches go together, and their bytes joined once.

aiokafka joins at every level of a request, so that each record batch is copied six times before it is sent; a round
sends megabytes.
"""

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from aiokafka.protocol.produce import ProduceRequest as AiokafkaProduceRequest
from aiokafka.protocol.types import Array, Bytes, Int32, Schema
from msgspec import Struct

#: Brokers remember the last five batches of a producer, so that many may be repeated (KIP-98).
MOST_IN_FLIGHT: Final = 5
#: Most bytes of record batches in one produce request, unless a single batch is larger. A round with a hundred partners
#: would otherwise pass the broker's `socket.request.max.bytes` (100 MiB), which closes the connection.
REQUEST_BYTES: Final = 8 << 20


class Chunk(Struct, frozen=True):
    """One record batch on its way."""

    topic: str
    partition: int
    data: bytes | bytearray
    count: int


class Written(NamedTuple):
    """From the first offset of what a round wrote to a topic to after the last."""

    begin: int
    end: int


def requests_of(chunks: Sequence[Sequence[Chunk]]) -> list[list[Chunk]]:
    """Pack the batches of each topic into produce requests of about REQUEST_BYTES, at most one batch of a topic in
    each, because a broker takes them in any order; the batches of one topic stay in order across requests.
    """
    requests: list[list[Chunk]] = []
    for level in itertools.zip_longest(*chunks):
        size = REQUEST_BYTES
        for chunk in level:
            if chunk is None:
                continue
            if size + len(chunk.data) > REQUEST_BYTES:
                requests.append([])
                size = 0
            requests[-1].append(chunk)
            size += len(chunk.data)
    return requests


class ProduceRequest(AiokafkaProduceRequest):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's request, with the same bytes."""

    def build(self, request_struct_class: Any) -> Any:
        """The request in the version that the broker and aiokafka agreed on."""
        return super().build(_joined_once(request_struct_class))


@lru_cache(maxsize=16)
def _joined_once(version: Any) -> Any:
    def encode(request: Any) -> bytes:
        parts: list[bytes] = []
        _append(parts, version.SCHEMA, [request.get_item(name) for name in version.SCHEMA.names])
        return b"".join(parts)

    return type(version.__name__, (version,), {"encode": encode})


def _append(parts: list[bytes], kind: Any, value: Any) -> None:
    if isinstance(kind, Schema):
        for field, item in zip(kind.fields, value, strict=True):
            _append(parts, field, item)
    elif isinstance(kind, Array) and value is not None:
        parts.append(Int32.encode(len(value)))
        for item in value:
            _append(parts, kind.array_of, item)
    elif kind is Bytes and value is not None:
        parts += (Int32.encode(len(value)), value)
    else:
        parts.append(kind.encode(value))
