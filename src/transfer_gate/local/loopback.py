"""127.0.0.1: free TCP ports for local servers, and whether a Kafka broker answers there."""

import random
import socket
import struct
from typing import Final

from transfer_gate.errors import BrokerUnavailable

LOOPBACK: Final = "127.0.0.1"

#: Below the ports that Linux, macOS and Windows lend to outgoing connections (from 32768 or 49152): while a broker is
#: down, a client that keeps knocking could otherwise be lent that very port and connect to itself.
_RANGE: Final = range(20000, 32000)


def is_free(port: int) -> bool:
    """Whether a server can listen on 127.0.0.1 at `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As Java does: a port whose old connections still linger in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port(*, besides: frozenset[int] = frozenset()) -> int:
    """Return a port without a listener now; another process can take it before its user does."""
    choose = random.SystemRandom()
    for _ in range(200):
        port = choose.choice(_RANGE)
        if port not in besides and is_free(port):
            return port
    raise BrokerUnavailable("no free TCP port on 127.0.0.1", do="stop some servers")


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
