"""One gate whose quarantine the tests of replay share; each keeps to prospects of its own."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.conftest import SESSION_SECONDS
from tests.support.replay_operator import Operator
from tests.support.stream_gate import StreamGate, open_gate


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def replayed_gate(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StreamGate]:
    """A gate of two partitions."""
    folder = tmp_path_factory.mktemp("replayed-gate")
    async with open_gate(bootstrap_servers, folder, partitions=2, session_timeout_seconds=SESSION_SECONDS) as opened:
        yield opened


@pytest.fixture
def operator(replayed_gate: StreamGate) -> Operator:
    """Who plans and runs."""
    return Operator(replayed_gate)
