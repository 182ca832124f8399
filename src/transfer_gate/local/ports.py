"""TCP ports of 127.0.0.1 for local servers."""

import random
import socket
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
    """A port that nobody listens on now; another process can take it before its user does."""
    choose = random.SystemRandom()
    for _ in range(200):
        port = choose.choice(_RANGE)
        if port not in besides and is_free(port):
            return port
    raise BrokerUnavailable("no free TCP port on 127.0.0.1", do="stop some servers")
