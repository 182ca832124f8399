"""The replay ledger: what became of each quarantined record (contract section 1). Key: the quarantine id.

A record without an entry is open, at attempt 1: the gate writes an entry only when something happened to it, so that
quarantining costs nothing more.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, get_args

import msgspec
from msgspec import Struct

from transfer_gate.model.reasons import Reason
from transfer_gate.model.terms import Channel, Instant

State = Literal["open", "replayed", "discarded"]


class LedgerEntry(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What happened last to a quarantined record.

    - `state`: `open` (it may be replayed), `replayed` (nothing of it is held any more), `discarded`.
    - `attempt`: of the quarantine record that holds it now, or held it last; only this one may be replayed.
    - `at` (UTC), `run`: when, and by which replay plan.
    - `released`, `quarantined`: what came of the last attempt.
    - `split`: quarantine ids of the records that a record which could not be read at first became, one a partner.
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


_RANK: Final = {state: rank for rank, state in enumerate(get_args(State))}

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


def order_of(entry: "LedgerEntry | Standing") -> tuple[int, int]:
    """By what entries of one quarantine id are ordered in time."""
    return entry.attempt, _RANK[entry.state]


class Standing(NamedTuple):
    """Of an entry, what says whether a record is open."""

    state: State
    attempt: int


def may_be_replayed(entry: LedgerEntry | Standing | None, attempt: int) -> bool:
    """Whether a quarantine record of this attempt is the one that is open; each is taken at most once."""
    if entry is None:
        return attempt == 1
    return entry.state == "open" and entry.attempt == attempt
