"""What all partitions of a worker may hold together: records that wait, and outputs on their way (docs/scaling.md); and
how much of that one round takes.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from transfer_gate.kafka.unpacking import Look

#: Packed bytes that wait in the consumer, of all inputs together, and the bounds of what one fetch brings of one.
_FETCHED_BYTES: Final = 64 << 20
_LEAST_FETCH, _MOST_FETCH = 128 << 10, 2 << 20
#: Bytes that one response to a fetch may bring of all partitions of a broker (`fetch.max.bytes`).
RESPONSE_BYTES: Final = 8 << 20
#: Bytes of records that one look at what was fetched brings, of all partitions and of each; and of each while the
#: budget is spent: then only inboxes that hold nothing are filled.
LOOK_ALL_BYTES: Final = 8 << 20
LOOK_EACH_BYTES: Final = 4 << 20
LOOK_SPENT_BYTES: Final = 256 << 10
#: Default of the setting MAX_INBOX_BYTES.
INBOX_BYTES: Final = 64 << 20
#: Default of the setting MAX_OUTPUT_BYTES.
OUTPUT_BYTES: Final = 32 << 20


def fetch_bytes(places: int) -> int:
    """Bytes that one fetch may bring of one of so many partitions of input topics (`max.partition.fetch.bytes`); a
    larger batch comes alone (KIP-74).
    """
    return max(_LEAST_FETCH, min(_MOST_FETCH, _FETCHED_BYTES // places))


class InboxBudget:
    """Bytes of fetched records, from their fetch to the commit of their round.

    What comes `first`, because the rest waits for it (consent events, for which transfers wait at the barrier), has the
    last quarter for itself: else transfers that wait would keep back what they wait for.
    """

    __slots__ = ("most", "used")

    def __init__(self, most: int = INBOX_BYTES) -> None:
        self.most = most
        self.used = 0

    def spent(self, *, first: bool = False) -> bool:
        """Whether only inboxes that hold nothing may fetch: these must, or what others wait for would never come."""
        return self.used >= (self.most if first else self.most - self.most // 4)

    def look(self, *, first: bool = False) -> int:
        """Bytes that the next look at what was fetched may bring of each partition."""
        return LOOK_SPENT_BYTES if self.spent(first=first) else LOOK_EACH_BYTES


class OutputRoom:
    """Bytes of outputs that were decided and are not yet committed.

    No round begins while there is no room, so these are less than `most` and one round more; a round that is larger
    than `most` is committed before the next one begins.
    """

    def __init__(self, most: int = OUTPUT_BYTES) -> None:
        self._most = most
        self._used = 0
        self._waiting = 0
        self._free = asyncio.Event()
        self._free.set()

    @property
    def free(self) -> bool:
        """Whether a round may begin."""
        return self._free.is_set()

    async def wait(self) -> None:
        """Until a round may begin. What waits already comes first, also before the round that just made room."""
        if self._waiting:
            await asyncio.sleep(0)
        self._waiting += 1
        try:
            await self._free.wait()
        finally:
            self._waiting -= 1

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Count `size` bytes for as long as they are on their way."""
        self._change(size)
        try:
            yield
        finally:
            self._change(-size)

    def _change(self, size: int) -> None:
        self._used += size
        if self._used < self._most:
            self._free.set()
        else:
            self._free.clear()


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


class Memory:
    """The bounds of a worker: of records that wait, of outputs on their way, and of each partition's rounds."""

    def __init__(self, inbox_bytes: int = INBOX_BYTES, output_bytes: int = OUTPUT_BYTES) -> None:
        self.inboxes = InboxBudget(inbox_bytes)
        self.outputs = OutputRoom(output_bytes)
        self._shares: defaultdict[int, Share] = defaultdict(Share)

    def share(self, partition: int) -> Share:
        """The share of a partition, which outlives its owners."""
        return self._shares[partition]

    def look(self, topics: Collection[str], first: Collection[str]) -> Look:
        """What the next look at what was fetched of these topics may bring; see InboxBudget for what comes `first`."""
        return Look({topic: self.inboxes.look(first=topic in first) for topic in topics}, LOOK_ALL_BYTES)
