"""The tables of one partition: the consent table, prospect (record key) to folded state (bytes), and the replay ledger;
each with the position in its changelog.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol


class Slice(Protocol):
    """One partition of the table. It only ever holds what is committed in the changelog below `position`."""

    #: The next changelog offset that it does not hold.
    position: int
    #: Of which life of the changelog it is (see `gate.integrity.commit_note`); empty when that is not known.
    life: str

    def get(self, key: bytes) -> bytes | None:
        """State of a prospect."""

    def update(self, changes: Mapping[bytes, bytes | None], position: int) -> None:
        """Take over committed changes, no value meaning removed, and the position after them, atomically."""

    def clear(self) -> None:
        """Forget everything."""

    def close(self) -> None:
        """Release files; the slice is not used afterwards."""

    def __len__(self) -> int: ...

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        """Every prospect and its state, in no particular order."""


class MemorySlice:
    """`memory://`: a dict; restored from the changelog at every start."""

    __slots__ = ("_states", "life", "position")

    def __init__(self, position: int = 0) -> None:
        self._states: dict[bytes, bytes] = {}
        self.position = position
        self.life = ""

    def get(self, key: bytes) -> bytes | None:
        """See Slice."""
        return self._states.get(key)

    def update(self, changes: Mapping[bytes, bytes | None], position: int) -> None:
        """See Slice."""
        states = self._states
        for key, value in changes.items():
            if value is None:
                states.pop(key, None)
            else:
                states[key] = value
        self.position = position

    def clear(self) -> None:
        """See Slice."""
        self._states.clear()
        self.position = 0
        self.life = ""

    def close(self) -> None:
        """See Slice."""

    def __len__(self) -> int:
        return len(self._states)

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        """See Slice."""
        return self._states.items()


SliceFactory = Callable[[str, int], Slice]
"""Makes the slice of a partition of a compacted topic, given by name and number."""


class Tables(NamedTuple):
    """What a partition remembers: the consent table, and the replay ledger by quarantine id."""

    consent: Slice
    ledger: Slice
