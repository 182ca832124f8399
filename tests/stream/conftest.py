"""A gate with one worker, shared by the tests that only give it records and look at what comes out."""

import datetime as dt
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.faults_registry import write_registry
from tests.support.stream_gate import StreamGate, open_gate
from transfer_gate.model.registry import Registry
from transfer_gate.registry import load_registry


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gate(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StreamGate]:
    """A gate of two partitions; a module that uses it keeps to prospects of its own."""
    async with open_gate(bootstrap_servers, tmp_path_factory.mktemp("gate"), partitions=2) as opened:
        yield opened


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Three active partners and the notice that names them."""
    return load_registry(write_registry(tmp_path_factory.mktemp("registry"), dt.datetime.now(dt.UTC)))
