"""Record batches (magic 2) with anything in them, and a producer for their bytes."""

import asyncio
import struct
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.errors import for_code
from aiokafka.record._crecords.cutil import crc32c_cython
from aiokafka.structs import TopicPartition

from transfer_gate.kafka.produce import ProduceRequest

#: Key, value, headers.
Raw = tuple[bytes | None, bytes | None, Sequence[tuple[bytes, bytes | None]]]

CODECS: Final = {
    "none": (0, bytes),
    "gzip": (1, gzip_encode),
    "snappy": (2, snappy_encode),
    "lz4": (3, lz4_encode),
    "zstd": (4, zstd_encode),
}


def varint(number: int) -> bytes:
    left, out = ((number << 1) ^ (number >> 63)) & (1 << 64) - 1, bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def sized(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def record(delta: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[bytes, bytes | None]]) -> bytes:
    body = b"\x00" + varint(0) + varint(delta) + sized(key) + sized(value) + varint(len(headers))
    body += b"".join(sized(name) + sized(content) for name, content in headers)
    return varint(len(body)) + body


def packed(records: bytes, count: int, codec: str = "none", base: int = 0) -> bytes:
    """A batch around bytes that may be records."""
    number, encode = CODECS[codec]
    return around(bytes(encode(records)), count, number, base)


def around(payload: bytes, count: int, codec: int, base: int = 0, last_delta: int | None = None) -> bytes:
    """A batch with this payload, as it stands on the wire."""
    stamp = int(time.time() * 1000)
    last = count - 1 if last_delta is None else last_delta
    tail = struct.pack(">hiqqqhii", codec, last, stamp, stamp, -1, -1, -1, count) + payload
    return struct.pack(">qiibI", base, 9 + len(tail), -1, 2, crc32c_cython(tail)) + tail


def batch(records: Sequence[Raw], codec: str = "none", base: int = 0) -> bytes:
    """A batch of these records."""
    return packed(b"".join(record(delta, *each) for delta, each in enumerate(records)), len(records), codec, base)


@asynccontextmanager
async def open_raw(bootstrap_servers: str) -> AsyncIterator[Callable[[str, int, bytes], Awaitable[bool]]]:
    """Produces batches of bytes; says whether the broker took one."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers)
    await client.bootstrap()

    async def send(topic: str, partition: int, data: bytes) -> bool:
        return (await _send(client, topic, partition, data))[0] == 0

    try:
        yield send
    finally:
        await client.close()


async def produce(bootstrap_servers: str, topic: str, partition: int, data: bytes) -> int:
    """Produce one batch; returns the offset of its first record. Fails when the broker refuses it."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers)
    await client.bootstrap()
    try:
        code, offset = await _send(client, topic, partition, data)
        assert code == 0, for_code(code)
        return offset
    finally:
        await client.close()


async def _send(client: AIOKafkaClient, topic: str, partition: int, data: bytes) -> tuple[int, int]:
    leader: Any = None
    while leader is None or leader < 0:
        await client.add_topic(topic)
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        if leader is None:
            await asyncio.sleep(0.02)
    request = ProduceRequest(
        transactional_id=None, required_acks=-1, timeout=30_000, topics=[(topic, [(partition, data)])]
    )
    response = await client.send(leader, request)
    ((_, ((_, code, offset, *_),)),) = response.topics
    return int(code), int(offset)


def zeros(key: bytes, size: int) -> bytes:
    """A gzip batch of one record whose value is `size` zeros, made without holding them."""
    head = b"\x00" + varint(0) + varint(0) + sized(key) + varint(size)
    squeeze = zlib.compressobj(9, wbits=31)
    parts = [squeeze.compress(varint(len(head) + size + 1) + head)]
    block = bytes(1 << 20)
    parts += [squeeze.compress(block[: min(len(block), size - start)]) for start in range(0, size, len(block))]
    return around(b"".join([*parts, squeeze.compress(varint(0)), squeeze.flush()]), 1, 1)
