"""The registry that the worker of these tests decides by."""

import datetime as dt

import pytest

from tests.support.registry import write_registry
from transfer_gate.model.registry import Registry
from transfer_gate.registry import load_registry


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Three active partners and the notice that names them."""
    return load_registry(write_registry(tmp_path_factory.mktemp("registry"), dt.datetime.now(dt.UTC)))
