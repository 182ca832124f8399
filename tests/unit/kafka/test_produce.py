"""Produce requests that are joined once are the requests of aiokafka."""

from typing import Any

import pytest
from aiokafka.protocol import produce

from transfer_gate.kafka.produce import ProduceRequest

VERSIONS = [
    version
    for name, version in sorted(vars(produce).items())
    if name.startswith("ProduceRequest_v") and version.API_VERSION >= 3  # transactions: KIP-98
]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.__name__)
@pytest.mark.parametrize(
    "topics",
    [[], [("partner.é", [(3, b"")])], [("a", [(0, b"x" * 70_000)]), ("b", [(0, b"y"), (1, b"z")])]],
    ids=["nothing", "an empty batch", "several batches"],
)
def test_the_bytes_are_those_of_aiokafka(version: Any, topics: list[tuple[str, list[tuple[int, bytes]]]]) -> None:
    fields = {"transactional_id": "gate-0", "required_acks": -1, "timeout": 30_000, "topics": topics}
    theirs = produce.ProduceRequest(**fields).build(version)
    ours = ProduceRequest(**fields).build(version)
    assert ours.encode() == theirs.encode()
    assert (ours.API_KEY, ours.API_VERSION, ours.RESPONSE_TYPE) == (
        theirs.API_KEY,
        theirs.API_VERSION,
        theirs.RESPONSE_TYPE,
    )


def test_aiokafka_speaks_a_version_with_transactions() -> None:
    assert VERSIONS
