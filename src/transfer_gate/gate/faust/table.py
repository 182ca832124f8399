"""The consent table as Faust knows it: one store that holds a slice for each partition and is never recovered by
Faust.
"""

from typing import Any, cast

import faust
from faust.stores import memory
from faust.types import TP

from transfer_gate.gate.table import Slice


class SliceStore(memory.Store[bytes, bytes]):
    """Slices by partition. They are restored before Faust looks (see `gate.restore`), so its recovery finds nothing
    to do.
    """

    slices: dict[int, Slice]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.slices = {}

    def persisted_offset(self, tp: TP) -> int | None:
        """Last changelog offset that the slice holds: all there is."""
        held = self.slices.get(tp.partition)
        return held.position - 1 if held is not None and held.position else None

    async def on_rebalance(self, *_: Any, **__: Any) -> None:
        """The gate moves slices itself, after fencing."""

    async def on_recovery_completed(self, *_: Any, **__: Any) -> None:
        """Nothing was recovered by Faust."""


class ConsentTable(faust.Table[bytes, bytes]):
    """Prospect to folded consent state, by partition."""

    def _new_store(self) -> SliceStore:
        return SliceStore(
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

    @property
    def slices(self) -> dict[int, Slice]:
        """Slice of each partition that this worker holds."""
        return cast(SliceStore, self.data).slices
