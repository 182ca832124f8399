"""The consent table as Faust knows it: a store that holds nothing, and that Faust never recovers.

The gate keeps the states itself (`gate.table`) and restores them before Faust looks, so that its recovery, which would
wait for the offset of a commit marker for ever, finds nothing to do.
"""

from typing import Any, cast

import faust
from faust.stores import memory
from faust.types import TP

from transfer_gate.gate.feed import Listener


class RestoredStore(memory.Store[bytes, bytes]):
    """Reports to Faust up to where the gate has restored the changelog."""

    def persisted_offset(self, tp: TP) -> int | None:
        """Last changelog offset that the gate holds of a partition: all there is."""
        position = cast(ConsentTable, self.table).listener.restored(tp.partition)
        return position - 1 if position else None

    async def on_rebalance(self, *_: Any, **__: Any) -> None:
        """The gate moves its tables itself, after fencing."""

    async def on_recovery_completed(self, *_: Any, **__: Any) -> None:
        """Nothing was recovered by Faust."""


class ConsentTable(faust.Table[bytes, bytes]):
    """Prospect to folded consent state, by partition."""

    def __init__(self, app: faust.App, listener: Listener, **options: Any) -> None:
        self.listener = listener
        super().__init__(app, **options)

    def _new_store(self) -> RestoredStore:
        return RestoredStore(
            "memory://",
            self.app,
            self,
            table_name=self.name,
            key_type=self.key_type,
            key_serializer=self.key_serializer,
            value_serializer=self.value_serializer,
            value_type=self.value_type,
            loop=self.loop,
            options=self.options,
        )
