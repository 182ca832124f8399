"""A gate with one worker, shared by the tests that only give it records and look at what comes out."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.stream_gate import StreamGate, open_gate


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gate(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StreamGate]:
    """A gate of two partitions; a module that uses it keeps to prospects of its own."""
    async with open_gate(bootstrap_servers, tmp_path_factory.mktemp("gate"), partitions=2) as opened:
        yield opened
