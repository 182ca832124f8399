"""Produce requests whose bytes are joined once.

aiokafka joins at every level of a request, so that each record batch is copied six times before it is sent; a round
sends megabytes.
"""

from functools import lru_cache
from typing import Any

from aiokafka.protocol.produce import ProduceRequest as AiokafkaProduceRequest
from aiokafka.protocol.types import Array, Bytes, Int32, Schema


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
