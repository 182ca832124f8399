"""Starts the gate with suppression notices that are sent a moment after the transaction of their events. Test only.

This is how an outbox without a transaction works. With it the tests of recalls prove that they find lost notices.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from transfer_gate.cli import main
from transfer_gate.gate.recalls import Notice, Recalls
from transfer_gate.kafka.transaction import TransactionalWriter
from transfer_gate.model.state import ProspectState

#: How long after the commit, seconds.
LATER: Final = 0.5

_applied: Final = Recalls.applied
_commit: Final = TransactionalWriter.commit
_waiting: list[Notice] = []
_tasks: set[asyncio.Task[None]] = set()


def _apart(self: Recalls, prospect: bytes, state: ProspectState) -> Iterator[Notice]:
    _waiting.extend(_applied(self, prospect, state))
    return iter(())


async def _send_later(partition: int, notices: list[Notice], bootstrap_servers: Any) -> None:
    await asyncio.sleep(LATER)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all") as producer:
        for topic, key, value, headers in notices:
            await producer.send(topic, value, key, partition=partition, headers=list(headers))


async def _and_send(self: TransactionalWriter, partition: int, offsets: Mapping[str, int], note: str = "") -> None:
    notices = [*_waiting]
    _waiting.clear()
    await _commit(self, partition, offsets, note)
    if notices:
        task = asyncio.create_task(_send_later(partition, notices, self._client._bootstrap_servers))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)


Recalls.applied = _apart  # type: ignore[method-assign]
TransactionalWriter.commit = _and_send  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
