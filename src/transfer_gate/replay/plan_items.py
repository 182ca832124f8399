"""The records of a plan in columns: 52 bytes each, so that a plan of a million fits beside everything else."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, overload
from uuid import UUID

import msgspec
from msgspec import Struct

FINGERPRINT_BYTES: Final = 16
_ID_BYTES: Final = 16
#: Records that are encoded, or decoded, at a time.
_CHUNK: Final = 4000
_CHUNK_BYTES: Final = 400_000


class Item(Struct, frozen=True, array_like=True):
    """One quarantine record: where it stands, which attempt it is, its bytes, its place in `Plan.forecasts`."""

    partition: int
    offset: int
    quarantine_id: str
    attempt: int
    fingerprint: str
    forecast: int


_ITEMS: Final = msgspec.json.Decoder(tuple[Item, ...])


class Items(Sequence[Item]):
    """Items in their order. An item is made when it is looked at."""

    __slots__ = ("_attempts", "_fingerprints", "_forecasts", "_ids", "_offsets", "_partitions")

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._partitions = array("i")
        self._offsets = array("q")
        self._attempts = array("i")
        self._forecasts = array("i")
        self._ids = bytearray()
        self._fingerprints = bytearray()
        for item in items:
            self.append(item)

    def append(self, item: Item) -> None:
        """Add one. Raises ValueError when its id is no UUID, or its fingerprint is not one of `fingerprint_of`."""
        quarantine_id, fingerprint = UUID(item.quarantine_id).bytes, bytes.fromhex(item.fingerprint)
        if len(fingerprint) != FINGERPRINT_BYTES or str(UUID(bytes=quarantine_id)) != item.quarantine_id:
            raise ValueError("no item of a plan")
        self._partitions.append(item.partition)
        self._offsets.append(item.offset)
        self._attempts.append(item.attempt)
        self._forecasts.append(item.forecast)
        self._ids += quarantine_id
        self._fingerprints += fingerprint

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, at: int) -> Item: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[Item, ...]: ...

    def __getitem__(self, at: int | slice) -> Item | tuple[Item, ...]:
        if isinstance(at, slice):
            return tuple(self._item(number) for number in range(*at.indices(len(self))))
        return self._item(range(len(self))[at])

    def __iter__(self) -> Iterator[Item]:
        return map(self._item, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it can grow

    def place(self, number: int) -> tuple[int, int]:
        """Partition and offset of one."""
        return self._partitions[number], self._offsets[number]

    def forecasts(self) -> Counter[int]:
        """Places in `Plan.forecasts` to number of items."""
        return Counter(self._forecasts)

    def forecast_as(self, numbers: Iterable[int], forecasts: Sequence[int]) -> "Items":
        """These items, in this order, each with its forecast (by its number here)."""
        chosen = Items()
        for number in numbers:
            chosen._partitions.append(self._partitions[number])
            chosen._offsets.append(self._offsets[number])
            chosen._attempts.append(self._attempts[number])
            chosen._forecasts.append(forecasts[number])
            chosen._ids += self._ids[number * _ID_BYTES : (number + 1) * _ID_BYTES]
            chosen._fingerprints += self._fingerprints[number * FINGERPRINT_BYTES : (number + 1) * FINGERPRINT_BYTES]
        return chosen

    def _item(self, number: int) -> Item:
        at = number * _ID_BYTES
        digits = self._ids[at : at + _ID_BYTES].hex()
        return Item(
            self._partitions[number],
            self._offsets[number],
            f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}",
            self._attempts[number],
            self._fingerprints[number * FINGERPRINT_BYTES : (number + 1) * FINGERPRINT_BYTES].hex(),
            self._forecasts[number],
        )


def encoded(items: Sequence[Item]) -> Iterator[bytes]:
    """A JSON array of items in parts that follow each other."""
    yield b"["
    for start in range(0, len(items), _CHUNK):
        yield (b"," if start else b"") + msgspec.json.encode(items[start : start + _CHUNK])[1:-1]
    yield b"]"


def decoded(text: bytes, at: int, stop: int) -> Items:
    """Items of `text` between `at` and `stop`, the inside of a JSON array, some at a time. Raises ValueError
    (msgspec.DecodeError is one) when they are none.
    """
    items = Items()
    while at < stop:
        # Numbers and hex digits only: no item holds what stands between two.
        end = text.find(b"],[", at + _CHUNK_BYTES, stop)
        end = stop if end < 0 else end + 1
        for item in _ITEMS.decode(b"[" + text[at:end] + b"]"):
            items.append(item)
        at = end + 1
    return items
