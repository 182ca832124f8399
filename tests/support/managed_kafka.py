"""A managed cluster: a real broker behind something that forbids some requests, or does not know them.

What stands between passes on every byte, but for the answers to some requests, and for the broker's port where the
broker names it.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal

from aiokafka.errors import ClusterAuthorizationFailedError, UnsupportedVersionError

from transfer_gate.kafka.requests import DescribeQuorum, DescribeTransaction
from transfer_gate.local.loopback import LOOPBACK, free_port

METADATA: Final = 3
FIND_COORDINATOR: Final = 10
API_VERSIONS: Final = 18
DESCRIBE_TRANSACTIONS: Final = DescribeTransaction.API_KEY
DESCRIBE_QUORUM: Final = DescribeQuorum.API_KEY
#: A request that nobody sends takes the place of one that is not offered.
_NOBODYS: Final = 30_000

How = Literal["passed", "forbidden", "refused", "not offered"]


class ManagedKafka:
    """Between clients and one broker. `forbidden`: DescribeTransactions is answered by
    CLUSTER_AUTHORIZATION_FAILED, `refused`: by UNSUPPORTED_VERSION; `not offered`: neither this request nor
    DescribeQuorum stands among those that the broker says it knows.
    """

    def __init__(self, broker: str, how: How) -> None:
        self._host, _, port = broker.partition(":")
        self._broker_port = int(port)
        self._port = free_port()
        self._how = how
        self._connections: set[asyncio.Task[None]] = set()
        self._ending = asyncio.Event()
        #: How often DescribeTransactions was asked here.
        self.asked = 0

    @property
    def bootstrap_servers(self) -> str:
        """Host and port for clients."""
        return f"{LOOPBACK}:{self._port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ManagedKafka"]:
        """While it takes connections."""
        server = await asyncio.start_server(self._connected, LOOPBACK, self._port)
        try:
            yield self
        finally:
            server.close()
            self._ending.set()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        there, to_broker = await asyncio.open_connection(self._host, self._broker_port)
        keys: dict[int, int] = {}
        running = [
            asyncio.ensure_future(self._requests(reader, to_broker, writer, keys)),
            asyncio.ensure_future(self._responses(there, writer, keys)),
            asyncio.ensure_future(self._ending.wait()),
        ]
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for end in (to_broker, writer):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()
        self._connections.discard(task)

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        to_broker: asyncio.StreamWriter,
        to_client: asyncio.StreamWriter,
        keys: dict[int, int],
    ) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                request = await _framed(reader)
                key, _, number = struct.unpack_from(">hhi", request)
                if key == DESCRIBE_TRANSACTIONS:
                    self.asked += 1
                    if self._how in ("forbidden", "refused"):
                        to_client.write(_with_size(self._refusal(number, request)))
                        continue
                keys[number] = key
                to_broker.write(_with_size(request))
                await to_broker.drain()

    async def _responses(
        self, reader: asyncio.StreamReader, to_client: asyncio.StreamWriter, keys: dict[int, int]
    ) -> None:
        own, real = (LOOPBACK.encode() + struct.pack(">i", port) for port in (self._port, self._broker_port))
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                response = await _framed(reader)
                key = keys.pop(struct.unpack_from(">i", response)[0], None)
                if key in (METADATA, FIND_COORDINATOR):
                    response = response.replace(real, own)
                elif key == API_VERSIONS and self._how == "not offered":
                    response = _without(response)
                to_client.write(_with_size(response))
                await to_client.drain()

    def _refusal(self, number: int, request: bytes) -> bytes:
        error = ClusterAuthorizationFailedError if self._how == "forbidden" else UnsupportedVersionError
        # One transactional id, which stands at the end: its length and one more, its bytes, no tags.
        text = request[:-1]
        at = next(at for at in range(len(text) - 1, 0, -1) if text[at] == len(text) - at)
        head = struct.pack(">ibi", number, 0, 0)
        state = struct.pack(">h", error.errno) + text[at:] + b"\x01" + struct.pack(">iqqhb", 0, -1, -1, -1, 1)
        return head + b"\x02" + state + b"\x00\x00"


def _without(response: bytes) -> bytes:
    """ApiVersions, with keys that nobody asks for in place of some."""
    (count,) = struct.unpack_from(">i", response, 6)
    begin, size = 10, 6  # each a key with its least and greatest version
    if not len(response) - 4 <= begin + size * count <= len(response):
        begin, size, count = 7, 7, response[6] - 1  # and with tags (KIP-482)
    changed = bytearray(response)
    for at in range(begin, begin + size * count, size):
        (key,) = struct.unpack_from(">h", response, at)
        if key in (DESCRIBE_TRANSACTIONS, DESCRIBE_QUORUM):
            struct.pack_into(">h", changed, at, _NOBODYS + key)
    return bytes(changed)


async def _framed(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def _with_size(message: bytes) -> bytes:
    return struct.pack(">i", len(message)) + message
