"""Which replay runs are under way, by the audit topic: a run says there when it starts and when it ends."""

from contextlib import aclosing

import msgspec

from transfer_gate.kafka.reader import bounds, committed_records
from transfer_gate.kafka.types import TopicPartition
from transfer_gate.operators import Act
from transfer_gate.records.audit_events import decode_act
from transfer_gate.replay.plan_store import CANCELLED, RUN
from transfer_gate.settings import Settings


class OpenRuns:
    """Remembers how far it read. A run that was killed stays open until it is resumed to its end, or cancelled."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._read: dict[TopicPartition, int] = {}
        self._open: set[str] = set()

    async def count(self) -> int:
        """Runs that are not at their end, as of now. Raises BrokerUnavailable."""
        begins, ends = await bounds(self._settings, {self._settings.topics.audit: 1}, committed_only=True)
        starts = {place: max(self._read.get(place, 0), begin) for place, begin in begins.items()}
        left = {place: end for place, end in ends.items() if starts[place] < end}
        if left:
            async with aclosing(committed_records(self._settings, left, starts)) as batches:
                async for records in batches:
                    for record in records:
                        self._take(record.value)
            self._read.update(left)
        return len(self._open)

    def _take(self, value: bytes | None) -> None:
        try:
            act = decode_act(value)
        except msgspec.DecodeError:
            return
        if act.plan_id is None or act.outcome == "refused":
            return
        if act.action == RUN:
            (self._open.add if _begins(act) else self._open.discard)(act.plan_id)
        elif act.action == CANCELLED:
            self._open.discard(act.plan_id)


def _begins(act: Act) -> bool:
    return act.outcome == "started"
