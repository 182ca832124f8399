"""An installation of its own on the test cluster for each test."""

from pathlib import Path

import pytest

from tests.conftest import Namespace
from transfer_gate.model.registry import Registry
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings

EXAMPLE_REGISTRY = Path(__file__).parents[2] / "examples" / "registry"


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
