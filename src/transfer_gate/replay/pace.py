"""Send the records of a plan back verbatim, to where they are decided: under the plan's id, at its pace."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from aiokafka import ConsumerRecord

from transfer_gate.quarantine.destination import Destinations
from transfer_gate.quarantine.sending import Sender
from transfer_gate.records.replay_requests import asking

#: A rate is kept by pauses between packets of this many seconds' worth.
_PACE_SECONDS: Final = 0.1
_PACKET: Final = 500


class PacedSender:
    """At least once: what is sent twice, the gate ignores the second time."""

    def __init__(self, sender: Sender, to: Destinations, run: str, rate: float | None) -> None:
        """`run` is the plan id, `rate` records a second at most."""
        self._sender = sender
        self._to = to
        self._run = run
        self._rate = rate
        self._free_at = time.monotonic()

    @property
    def packet(self) -> int:
        """How many records to send at a time."""
        return _PACKET if self._rate is None else max(1, min(_PACKET, int(self._rate * _PACE_SECONDS)))

    async def send(self, records: Sequence[ConsumerRecord]) -> None:
        """Send records in order, and wait until every in-sync replica has them."""
        await self._pace(len(records))
        for record in records:
            headers = asking("replay", self._run, None, record.headers)
            await self._sender.send(self._to.of(record), record.key, record.value, headers)
        await self._sender.flush()

    async def _pace(self, records: int) -> None:
        if self._rate is None:
            return
        wait = self._free_at - time.monotonic()
        self._free_at = max(self._free_at, time.monotonic()) + records / self._rate
        if wait > 0:
            await asyncio.sleep(wait)
