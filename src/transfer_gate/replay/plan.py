"""A replay plan: the records that it sends back, and the result of each decision when it was planned, as a forecast."""

import datetime as dt
import os
import re
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, get_args, overload
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.errors import InvalidInput
from transfer_gate.kafka import ConsumerRecord
from transfer_gate.model.terms import Reason
from transfer_gate.records.ledger import ERASED, LedgerEntry

#: released: every channel was released. partly: some were, the others are quarantined again. held: everything is
#: quarantined again. split: a record that could not be read became one for each partner. discarded: by an
#: operator. erased: its payload can't be read any more. refused: the gate can't decide it, see the ledger's `why`.
Outcome = Literal["released", "partly", "held", "split", "discarded", "erased", "refused"]

#: Outcomes after which something of the record is still, or again, in quarantine.
BACK: Final[frozenset[str]] = frozenset({"partly", "held", "split", "refused"})

#: Status of a planned record by the ledger: `open`, one of the outcomes, or settled by another plan or an operator.
ItemStatus = Literal["open", "elsewhere"] | Outcome
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
STATUSES: Final[tuple[ItemStatus, ...]] = ("open", *OUTCOMES, "elsewhere")


class Result(Struct, frozen=True):
    """An outcome, the channels that were released, and those that are quarantined again with their reasons."""

    outcome: Outcome
    released: tuple[str, ...] = ()
    quarantined: dict[str, tuple[Reason, ...]] = {}


def result_of(entry: LedgerEntry) -> Result:
    """What the last attempt of an entry came to."""
    return Result(_outcome_of(entry), entry.released, dict(entry.quarantined))


def result_by(entry: LedgerEntry | None, attempt: int, plan_id: str) -> Result | Literal["elsewhere"] | None:
    """The result of this attempt of a record that the plan sent: None as long as it is open.

    `elsewhere`: another plan or an operator settled it, before or after this plan could.
    """
    if entry is None or entry.attempt < attempt:
        return None
    by_plan = entry.run == plan_id
    if entry.attempt == attempt and entry.state == "open":
        return result_of(entry) if by_plan and entry.why is not None else None
    # A discard keeps the attempt, a decision makes the next one.
    newest = attempt if entry.state == "discarded" else attempt + 1
    return result_of(entry) if by_plan and entry.attempt == newest else "elsewhere"


def _outcome_of(entry: LedgerEntry) -> Outcome:
    if entry.state == "discarded":
        return "erased" if entry.why == ERASED else "discarded"
    if entry.state == "replayed":
        return "split" if entry.split else "released"
    if entry.why is not None:
        return "refused"
    return "partly" if entry.released else "held"


FINGERPRINT_BYTES: Final = 16
_ID_BYTES: Final = 16
#: Records that are encoded, or decoded, at a time.
_CHUNK: Final = 4000
_CHUNK_BYTES: Final = 400_000


class Item(Struct, frozen=True, array_like=True):
    """A quarantine record: its position, its attempt, a fingerprint of its bytes, its index in `Plan.forecasts`."""

    partition: int
    offset: int
    quarantine_id: str
    attempt: int
    fingerprint: str
    forecast: int


_ITEMS: Final = msgspec.json.Decoder(tuple[Item, ...])


class Items(Sequence[Item]):
    """Items in their order, in columns. An item is made when it is read."""

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
        """Add an item. Raises ValueError when its id is not a UUID, or its fingerprint not one of `fingerprint_of`."""
        quarantine_id, fingerprint = UUID(item.quarantine_id).bytes, bytes.fromhex(item.fingerprint)
        if len(fingerprint) != FINGERPRINT_BYTES or str(UUID(bytes=quarantine_id)) != item.quarantine_id:
            raise ValueError("not an item of a plan")
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
        """Partition and offset of an item."""
        return self._partitions[number], self._offsets[number]

    def forecasts(self) -> Counter[int]:
        """Index in `Plan.forecasts` to number of items."""
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
    """Items of `text` between `at` and `stop`, the inside of a JSON array, decoded some at a time. Raises ValueError
    (or msgspec.DecodeError, which is a ValueError) when they are not items.
    """
    items = Items()
    while at < stop:
        # An item holds numbers and hex digits only, never what stands between two of them.
        end = text.find(b"],[", at + _CHUNK_BYTES, stop)
        end = stop if end < 0 else end + 1
        for item in _ITEMS.decode(b"[" + text[at:end] + b"]"):
            items.append(item)
        at = end + 1
    return items


_PLAN_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: What stands in front of the items of a plan, its last member; quotes within texts are escaped.
_ITEMS_AT: Final = b'"items":['


class Move(Struct, frozen=True, kw_only=True):
    """How many channels of a partner, quarantined for `reason`, would come to `outcome`: `released`, `erased`,
    `refused`, or the reason for which they would be quarantined again. `partner_id` is None for records that could not
    be read."""

    partner_id: str | None
    reason: str
    outcome: str
    channels: int


class Plan(Struct, frozen=True, kw_only=True):
    """What `replay plan` planned. Times are UTC.

    - `by`, `at`, `ticket`, `filter`: who planned it, when, what for, by which filter.
    - `topic`, `ends`: the quarantine topic, and by partition the offset below which records matched.
    - `revision`: of the registry of the forecast; the gate decides by its own.
    - `items`: in the order in which they were quarantined.
    - `moves`: the forecast by partner and reason; `not_replayable`: unreadable consent events that the filter matched,
      which no plan sends.
    """

    plan_id: str
    by: str
    at: dt.datetime
    ticket: str | None
    filter: dict[str, Any]
    topic: str
    ends: dict[str, int]
    revision: str
    forecasts: tuple[Result, ...]
    moves: tuple[Move, ...]
    not_replayable: int
    items: Sequence[Item]

    def outcomes(self) -> dict[str, int]:
        """Number of records by the outcome that was forecast."""
        items = self.items
        by_forecast = items.forecasts() if isinstance(items, Items) else Counter(item.forecast for item in items)
        counts: Counter[str] = Counter()
        for number, records in by_forecast.items():
            counts[self.forecasts[number].outcome] += records
        return dict(counts)


class PlanFile(Struct, frozen=True, kw_only=True):
    """A file in the folder of plans."""

    digest: str
    plan: Plan


def digest_of(plan: Plan) -> str:
    """SHA-256 over the whole plan as canonical JSON: approvals and runs are bound to it."""
    digest = sha256()
    for part in _encoded(plan):
        digest.update(part)
    return digest.hexdigest()


def _encoded(plan: Plan) -> Iterator[bytes]:
    """A plan as JSON, in parts that follow each other: its items would be too much at once."""
    head = msgspec.json.encode(replace(plan, items=()))
    yield head[: -len(b"[]}")]
    yield from encoded(plan.items)
    yield b"}"


def fingerprint_of(record: ConsumerRecord) -> str:
    """A hash of key, value and headers of a record, byte for byte."""
    parts = [record.key, record.value]
    for name, text in record.headers:
        parts += (name.encode("utf-8", "surrogateescape"), text)  # a name may be any bytes (PEP 383)
    framed = [b"-" if part is None else b"%d:%b" % (len(part), part) for part in parts]
    return sha256(b"".join(framed)).digest()[:FINGERPRINT_BYTES].hex()


def checked_id(plan_id: str) -> str:
    """The id of a plan as a user gave it. Raises InvalidInput when it is not a plan id."""
    if not _PLAN_ID.fullmatch(plan_id):
        raise InvalidInput(f"{plan_id!r} is not a plan id", do="give the id that `transfer-gate replay plan` printed")
    return plan_id


def plan_file(data_dir: Path, plan_id: str) -> Path:
    """The path of the file of a plan."""
    return data_dir / "plans" / f"{plan_id}.json"


def save_plan(file: Path, plan: Plan, digest: str) -> None:
    """Write a plan file atomically. Raises InvalidInput when it can't be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=".plan-")
        with os.fdopen(handle, "wb") as temporary:
            temporary.write(b'{"digest":%b,"plan":' % msgspec.json.encode(digest))
            temporary.writelines(_encoded(plan))
            temporary.write(b"}")
            temporary.flush()
            os.fsync(temporary.fileno())
        Path(name).replace(file)
    except OSError as error:
        raise InvalidInput(f"{file} can't be written: {error.strerror}", do="check path and rights") from None


def load_plan(file: Path) -> Plan | None:
    """The plan in a file, None when there is no such file. Raises InvalidInput when it is not a plan."""
    try:
        text = file.read_bytes()
        at = text.rindex(_ITEMS_AT) + len(_ITEMS_AT)
        stop = text.rindex(b"]")
        plan = msgspec.json.decode(text[:at] + text[stop:], type=PlanFile).plan
        return replace(plan, items=decoded(text, at, stop))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # msgspec.DecodeError is a ValueError
        raise InvalidInput(
            f"{file} can't be read as a plan: {error}", do="remove it: the audit topic has the plan as well"
        ) from None
