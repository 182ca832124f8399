"""The replay ledger: what became of each quarantined record (contract section 1). Key: the quarantine id.

A record without an entry is open, at attempt 1: the gate writes an entry only when something happened to it, so that
quarantining costs nothing more.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, get_args

import msgspec
from msgspec import Struct

from transfer_gate.model.terms import Channel, Instant, Reason

#: States of a quarantined record: may be replayed, nothing of it is quarantined any more, given up.
OPEN: Final = "open"
REPLAYED: Final = "replayed"
DISCARDED: Final = "discarded"
#: Of an earlier attempt: it was replayed, and the record of a later attempt stands for it.
SUPERSEDED: Final = "superseded"
State = Literal["open", "replayed", "discarded"]
RecordState = State | Literal["superseded"]


class LedgerEntry(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What happened last to a quarantined record.

    - `state`: `open` (it may be replayed), `replayed` (nothing of it is quarantined any more), `discarded`.
    - `attempt`: of its latest quarantine record; only that record may be replayed.
    - `at` (UTC), `run`: when, and by which replay plan.
    - `released`, `quarantined`: what came of the last attempt.
    - `split`: quarantine ids of the records for each partner, that a record which could not be read at first became.
    - `why`: of a discard, or why an attempt came to nothing.
    """

    state: State
    attempt: int
    at: Instant
    run: str | None = None
    released: tuple[Channel, ...] = ()
    quarantined: Mapping[str, tuple[Reason, ...]] = {}
    split: tuple[str, ...] = ()
    why: str | None = None


_STATES: Final[tuple[State, ...]] = get_args(State)
_RANK: Final = {state: rank for rank, state in enumerate(_STATES)}

#: Why of a record whose payload can't be read any more because the person was erased.
ERASED: Final = "erased"

_DECODER: Final = msgspec.json.Decoder(LedgerEntry)
encode_entry = msgspec.json.Encoder().encode


def decode_entry(raw: bytes) -> LedgerEntry:
    """Read an entry. Raises msgspec.DecodeError when the ledger is damaged."""
    return _DECODER.decode(raw)


def newest_of(entry: bytes | None, other: bytes) -> bytes:
    """Of two entries of one quarantine id, the later one: partitions of the ledger may hold copies of it. Raises
    msgspec.DecodeError.
    """
    if entry is None or entry == other:
        return other
    return max(entry, other, key=lambda raw: order_of(decode_entry(raw)))


def order_of(entry: LedgerEntry) -> tuple[int, int]:
    """By what entries of one quarantine id are ordered in time."""
    return entry.attempt, _RANK[entry.state]


class LedgerStatus(NamedTuple):
    """Of an entry, what decides whether a record is open. `split`: it could not be read at first, and became one record
    for each partner for whom it is still quarantined.
    """

    state: State
    attempt: int
    split: bool = False


def may_be_replayed(entry: LedgerEntry | LedgerStatus | None, attempt: int) -> bool:
    """Whether the quarantine record of this attempt is open; each is taken at most once."""
    if entry is None:
        return attempt == 1
    return entry.state == OPEN and entry.attempt == attempt


def state_of(entry: LedgerEntry | LedgerStatus | None, attempt: int) -> RecordState:
    """What became of the quarantine record of this attempt."""
    if may_be_replayed(entry, attempt):
        return OPEN
    if entry is not None and (attempt == entry.attempt or entry.state != OPEN):
        return entry.state
    return SUPERSEDED  # by a later attempt, whose record is open


class _Part(Struct):
    """Of an entry, what an index keeps."""

    state: State
    attempt: int
    released: tuple[str, ...] = ()


_PART: Final = msgspec.json.Decoder(_Part)
#: Of an attempt in an index: a rank of its state, and whether it was split.
_CODES: Final = 2 * len(_RANK)


class LedgerIndex:
    """Ledger status by quarantine id, in some 100 bytes each: hash and status as one number each.

    Entries of a later attempt win over those of an earlier one, in whatever order they come.
    """

    def __init__(self) -> None:
        self._by_id: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def put(self, quarantine_id: bytes, entry: bytes | None) -> None:
        """Take in a record of the ledger; None: quarantine has deleted the record that it is about. Raises
        msgspec.DecodeError when it is damaged.
        """
        name = hash(quarantine_id.decode())
        if entry is None:
            self._by_id.pop(name, None)
            return
        part = _PART.decode(entry)
        # A record that could not be read at first has no channels of its own.
        split = part.state == REPLAYED and not part.released
        packed = part.attempt * _CODES + _RANK[part.state] * 2 + split
        self._by_id[name] = max(packed, self._by_id.get(name, 0))

    def join(self, other: "LedgerIndex") -> None:
        """Take in the index of another partition: two may hold copies of an entry (`topics grow`)."""
        for name, packed in other._by_id.items():  # noqa: SLF001 - of the same class
            self._by_id[name] = max(packed, self._by_id.get(name, 0))

    def get(self, quarantine_id: str, /) -> LedgerStatus | None:
        """What happened last to a quarantined record; None when nothing did."""
        packed = self._by_id.get(hash(quarantine_id))
        if packed is None:
            return None
        attempt, code = divmod(packed, _CODES)
        return LedgerStatus(_STATES[code >> 1], attempt, bool(code & 1))
