"""Only a broker that clients can use counts as ready."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from transfer_gate.local.loopback import answers, free_port, is_free


@contextmanager
def server(answer: bytes) -> Iterator[int]:
    """Something that accepts one connection, reads a request and sends `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(5)


def metadata(port: int, *, correlation: int = 1, brokers: int = 1, controller: int = 1) -> bytes:
    """A Metadata response, version 1: brokers that listen on `port`, a controller, no topics."""
    host = b"127.0.0.1"
    broker = struct.pack(f">ih{len(host)}sih", 1, len(host), host, port, -1)
    body = struct.pack(">ii", correlation, brokers) + broker * brokers + struct.pack(">ii", controller, 0)
    return struct.pack(">i", len(body)) + body


def test_a_broker_that_lists_itself_is_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with socket.create_server(("127.0.0.1", port)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1024)
                # In pieces, as a network may deliver it.
                for byte in metadata(port):
                    connection.sendall(bytes([byte]))

        thread = threading.Thread(target=serve)
        thread.start()
        assert answers("127.0.0.1", port)
        thread.join(5)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="closes the connection"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="speaks another protocol"),
        pytest.param(struct.pack(">i", 100) + b"short", id="stops half way"),
        pytest.param(struct.pack(">i", 6) + b"\0" * 6, id="too short"),
        pytest.param(metadata(1, brokers=0), id="fenced: lists no broker"),
        pytest.param(metadata(1), id="lists only another broker"),
        pytest.param(metadata(1, correlation=2), id="answers another request"),
        pytest.param(metadata(1, controller=-1), id="knows no controller"),
    ],
)
def test_everything_else_is_not_ready(answer: bytes) -> None:
    with server(answer) as port:
        assert not answers("127.0.0.1", port, timeout=2)


def test_nobody_listening_is_not_ready() -> None:
    assert not answers("127.0.0.1", free_port())


def test_a_free_port_is_never_one_that_is_lent_to_clients() -> None:
    port = free_port()
    assert is_free(port)
    assert port < 32768
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
