"""How much one round takes of what the settings allow: half after each failure, slowly more after each commit."""

from typing import Final

#: What is taken at least: of 2,000 records and 16 MiB, one record and 16 KiB.
LEAST: Final = 1 / 1024
#: What each commit adds: after one failure a round is whole again after 15 commits.
GROWTH: Final = 1.05


class Share:
    """The share of one partition.

    A round that is too much for the brokers, or for the transaction timeout, would else fail in the same way for ever.
    """

    __slots__ = ("now",)

    def __init__(self) -> None:
        #: From LEAST to 1.
        self.now = 1.0

    def failed(self) -> None:
        """A transaction did not end in a known commit."""
        self.now = max(LEAST, self.now / 2)

    def committed(self) -> None:
        """A transaction was committed."""
        if self.now < 1:
            self.now = min(1.0, self.now * GROWTH)

    def of(self, most: int) -> int:
        """This share of `most`, one at least."""
        return max(1, int(most * self.now))
