"""An installation of its own for each test, and one gate for the tests that only read its outputs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import Namespace
from tests.support.stream_gate import StreamGate, open_gate
from transfer_gate.model.registry import Registry
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings

EXAMPLE_REGISTRY = Path(__file__).parents[2] / "examples" / "registry"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gate(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StreamGate]:
    """A gate of two partitions; a module that uses it keeps to prospects of its own."""
    async with open_gate(bootstrap_servers, tmp_path_factory.mktemp("gate"), partitions=2) as opened:
        yield opened


@pytest.fixture
def settings(bootstrap_servers: str, namespace: Namespace, tmp_path: Path) -> Settings:
    """Settings of an installation with two partitions whose topics don't exist yet."""
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        bootstrap_servers=bootstrap_servers,
        security_protocol="PLAINTEXT",
        topic_prefix=namespace.topic_prefix,
        app_id=namespace.app_id,
        registry=EXAMPLE_REGISTRY,
        data_dir=tmp_path / "data",
        partitions=2,
    )


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The sample registry: three active partners, one paused, one abroad."""
    return load_registry(EXAMPLE_REGISTRY)


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """The same settings for a `transfer-gate` process."""
    return {
        f"TRANSFER_GATE_{name.upper()}": str(value)
        for name, value in settings.model_dump(include=set(settings.model_fields_set)).items()
    }
