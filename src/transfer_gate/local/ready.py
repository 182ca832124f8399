"""Asks a Kafka broker whether it answers, over a plain socket: no client library, no event loop, no retries."""

import socket
import struct
from typing import Final

_METADATA: Final = 3
#: Oldest version of Metadata that names the controller; brokers of Kafka 2 to 4 serve it.
_VERSION: Final = 1
_CLIENT: Final = b"transfer-gate"
_LARGEST_ANSWER: Final = 1 << 20


def answers(host: str, port: int, *, timeout: float = 2.0) -> bool:
    """Whether the broker at `host`:`port` can be used: it lists itself as alive and knows the controller.

    `timeout` is in seconds. A broker that accepts connections but is still fenced lists no brokers, so it counts as not
    ready. Source: Kafka protocol guide, Metadata request and response version 1.
    """
    try:
        with socket.create_connection((host, port), timeout) as connection:
            # Header: api key, api version, correlation id, client id; body: an empty array of topics.
            header = struct.pack(f">hhih{len(_CLIENT)}s", _METADATA, _VERSION, 1, len(_CLIENT), _CLIENT)
            connection.sendall(_sized(header + struct.pack(">i", 0)))
            (size,) = struct.unpack(">i", _exactly(connection, 4))
            if not 4 <= size <= _LARGEST_ANSWER:
                return False
            return _usable(_exactly(connection, size), port)
    except (OSError, struct.error, EOFError):
        return False


def _usable(answer: bytes, port: int) -> bool:
    correlation, brokers = struct.unpack_from(">ii", answer)
    offset, nodes, ports = 8, set(), set()
    for _ in range(brokers):
        node, length = struct.unpack_from(">ih", answer, offset)
        offset += 6 + length
        listening, rack = struct.unpack_from(">ih", answer, offset)
        offset += 6 + max(rack, 0)
        nodes.add(node)
        ports.add(listening)
    (controller,) = struct.unpack_from(">i", answer, offset)
    return correlation == 1 and controller in nodes and port in ports


def _sized(request: bytes) -> bytes:
    return struct.pack(">i", len(request)) + request


def _exactly(connection: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        more = connection.recv(count - len(received))
        if not more:
            raise EOFError
        received += more
    return received
