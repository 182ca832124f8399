"""The states of one round over the table. The table itself changes only after the commit, so a failed round leaves no
trace.
"""

from collections.abc import Iterable
from typing import Final

from transfer_gate.gate.table import Slice
from transfer_gate.model.state import EMPTY, ProspectState
from transfer_gate.records.state import decode_state, encode_state

#: Bytes from which on a state is large, and of all large states that are kept.
LARGE_STATE_BYTES: Final = 16 << 10
LARGE_STATES_BYTES: Final = 2 << 20


class Overlay:
    """What a round changed, by record key, before the table.

    Of what it only read, the last state is kept: thousands that are not read again would push the work at hand out
    of the processor's caches. Large ones are kept too, up to LARGE_STATES_BYTES: to read one again takes milliseconds.
    """

    __slots__ = ("_changed", "_large", "_large_bytes", "_last", "_last_key", "_table", "read")

    def __init__(self, table: Slice) -> None:
        self._table = table
        self._changed: dict[bytes, ProspectState] = {}
        self._large: dict[bytes, ProspectState] = {}
        self._large_bytes = 0
        self._last_key: bytes | None = None
        self._last = EMPTY
        #: Bytes of the states that were read from the table.
        self.read = 0

    def get(self, key: bytes) -> ProspectState:
        """The state of a key, as this round has made it so far."""
        state = self._changed.get(key)
        if state is None:
            if key != self._last_key:
                self._last, self._last_key = self._large.get(key) or self._decoded(key), key
            state = self._last
        return state

    def _decoded(self, key: bytes) -> ProspectState:
        raw = self._table.get(key)
        state = decode_state(raw)
        if raw is not None:
            self.read += len(raw)
            if len(raw) >= LARGE_STATE_BYTES:
                self._large_bytes += len(raw)
                if self._large_bytes > LARGE_STATES_BYTES:
                    self._large.clear()
                    self._large_bytes = len(raw)
                self._large[key] = state
        return state

    def put(self, key: bytes, state: ProspectState) -> None:
        """Change a state; the very object that `get` gave last changes nothing. An empty state is removed from the
        table.
        """
        if state is not self.get(key):
            self._changed[key] = state

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Every key whose state changed, and the new state as bytes; None where nothing is left of it."""
        for key, state in self._changed.items():
            yield key, None if state == EMPTY else encode_state(state)

    def forget(self) -> None:
        """Let go of the states: they take several times the memory of their bytes."""
        self._changed.clear()
        self._large.clear()
        self._last, self._last_key = EMPTY, None
