"""Records in another partition than their key's: what another partitioner writes (contract section 1)."""

import pytest

from tests.support.stream_gate import StreamGate
from tests.support.stream_replays import told

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_transfer_outside_the_partition_of_its_key_is_quarantined_alone(gate: StreamGate) -> None:
    """It was decided beside the wrong states: whoever withdrew in the key's partition was unknown there."""
    prospect = "strays-transfer"
    await gate.consent(prospect)
    home = gate.home(prospect)
    value = gate.events.transfer(prospect, "strays-event")
    sent = await gate.send(gate.topics.transfers, value, prospect.encode(), partition=1 - home, misplaced=True)
    outputs = await gate.outputs()
    (held,) = outputs.held(sent)
    headers = told(held)
    assert (held.key, held.value, held.partition) == (sent.key, sent.value, 1 - home)
    assert (headers["tg-stage"], headers["tg-reason"]) == (b"schema", b"key-misplaced")
    assert headers["tg-reasons"] == b'{"email":["key-misplaced"],"sms":["key-misplaced"]}'
    (decided,) = outputs.decided(sent)
    assert decided["quarantined"] == {"email": ["key-misplaced"], "sms": ["key-misplaced"]}
    assert outputs.released_to("acme", prospect) == []
