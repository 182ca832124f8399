"""The service as a process, as far as it goes without a broker."""

import socket

from transfer_gate.ingest.service import _listen
from transfer_gate.settings import Settings


def test_a_request_that_comes_before_the_application_is_up_waits_instead_of_being_refused() -> None:
    """The metrics port may answer first: who sees it healthy may send."""
    settings = Settings(_env_file=None, ingest_host="127.0.0.1", ingest_port=0)  # type: ignore[call-arg]
    with _listen(settings) as opened, socket.create_connection(opened.getsockname()[:2]) as client:
        assert client.getpeername() == opened.getsockname()
