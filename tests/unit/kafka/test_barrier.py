"""Whoever waits at the barrier gets an answer, or waits for one: a defect leaves nobody behind."""

import asyncio

import pytest

from transfer_gate.kafka.watermarks import Watermarks


class Failing(Watermarks):
    """Fails once with an error that is none of Kafka's."""

    def __init__(self) -> None:
        super().__init__({"bootstrap_servers": "127.0.0.1:1", "client_id": "test"}, "consent-events")
        self.asked = 0

    async def _list_offsets(self, partitions: set[int], which: int) -> dict[int, tuple[int, ...]]:
        self.asked += 1
        if self.asked == 1:
            raise ValueError(f"{which} of {partitions}")
        return dict.fromkeys(partitions, (42,))


async def test_an_error_that_is_no_kafka_error_leaves_no_partition_waiting(caplog: pytest.LogCaptureFixture) -> None:
    watermarks = Failing()
    try:
        ends = await asyncio.wait_for(asyncio.gather(watermarks.end(0), watermarks.end(1)), 30)
    finally:
        await watermarks.close()
    assert set(ends) == {42}
    assert "high watermarks could not be requested" in caplog.text
