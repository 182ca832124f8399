"""The states of one round over the table. The table itself changes only after the commit, so a failed round leaves no
trace.
"""

from collections.abc import Iterable

from transfer_gate.model.state import EMPTY, ProspectState
from transfer_gate.stream.slices import Slice
from transfer_gate.wire.state import decode_state, encode_state


class Overlay:
    """What a round read and changed, by record key."""

    __slots__ = ("_changed", "_states", "_table")

    def __init__(self, table: Slice) -> None:
        self._table = table
        self._states: dict[bytes, ProspectState] = {}
        self._changed: set[bytes] = set()

    def get(self, key: bytes) -> ProspectState:
        """The state of a key, as this round has made it so far."""
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = decode_state(self._table.get(key))
        return state

    def put(self, key: bytes, state: ProspectState) -> None:
        """Change a state; the very same object changes nothing. An empty state is removed from the table."""
        if state is not self.get(key):
            self._states[key] = state
            self._changed.add(key)

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Every key whose state changed, and the new state as bytes; None where nothing is left of it."""
        for key in self._changed:
            state = self._states[key]
            yield key, None if state == EMPTY else encode_state(state)
