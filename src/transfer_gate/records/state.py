"""The state of a prospect as bytes: values of the consent changelog, JSON that an operator can read. The folded
consents stand under the record key, the served index beside them, under a key of its own.

The first member of a state is the number of its format. A program must not read a state of a later format than its own:
it would write it back without what it does not know, and a withdrawal may be among that.

Both stand in one topic: so one restore brings both, and they move together to another partition. The index is apart
from the state: so a release does not write the history of a person anew.
"""

import datetime as dt
from typing import Final

import msgspec

from transfer_gate.errors import GateError
from transfer_gate.model.served import NOBODY_SERVED, ServedIndex, ServedParty
from transfer_gate.model.state import EMPTY, FormerState, ProspectState, StateNumber

#: What this version writes. Every change of `ProspectState` that an older reader would lose needs the next number.
#: A state without a number is of format 1. Those of format 1 and 2 are read as `FormerState`; one of format 3 lacks
#: members only, those of a history that exceeded its bounds. Format 5 is 4 with served indexes beside the states
#: (`served_key`): an older version would release without noting to whom.
STATE_FORMAT: Final = 5
_LATEST_FORMER: Final = 2

#: 2000-01-01 and 3000-01-01 (UTC), ms since the epoch.
_FIRST_MS: Final = 946_684_800_000
_LAST_MS: Final = 32_503_680_000_000

#: How the key of a served index begins. No prospect has it: it is not UTF-8.
SERVED: Final = b"\xffserved-"

_DECODER: Final = msgspec.json.Decoder(ProspectState)
_FORMER: Final = msgspec.json.Decoder(FormerState)
_SERVED: Final = msgspec.json.Decoder(ServedIndex)
# Sorts proofs and parties: the same events give the same bytes.
_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_BEGIN: Final = b'{"format":%d' % STATE_FORMAT
# The comma ends the number: a state of format 20 begins like one of format 2.
_CURRENT: Final = _BEGIN + b","


class StateTooNew(GateError):
    """A newer version wrote a state, in a format that this version does not know."""


_FORMAT_OF: Final = msgspec.json.Decoder(StateNumber)


def encode_state(state: ProspectState) -> bytes:
    """Write a state, with the number of this format in front."""
    members = _encode(state)
    return _BEGIN + (b"}" if members == b"{}" else b"," + members[1:])


def decode_state(raw: bytes | None) -> ProspectState:
    """Read a state; no bytes is the empty state.

    Raises msgspec.DecodeError when the changelog is damaged, StateTooNew when a newer version wrote the state.
    """
    if raw is None:
        return EMPTY
    if not raw.startswith(_CURRENT):
        found = _FORMAT_OF.decode(raw).format
        if found > STATE_FORMAT:
            raise format_too_new("the consent changelog", found)
        if found <= _LATEST_FORMER:
            return _FORMER.decode(raw).renewed()
    return _DECODER.decode(raw)


def format_too_new(where: str, found: int) -> StateTooNew:
    """The refusal to work on states of a later format."""
    return StateTooNew(
        f"{where} names states of format {found}, and this version reads up to {STATE_FORMAT}: a newer version "
        "wrote them",
        do="run the newer version everywhere; an older version would write them back without what it can't read",
    )


def received_at(timestamp_ms: int) -> dt.datetime | None:
    """When a record was received, by the broker's timestamp (ms since the epoch); None for a stamp outside
    the years 2000 to 2999: a broker whose clock is that wrong dates nothing.
    """
    return dt.datetime.fromtimestamp(timestamp_ms / 1000, dt.UTC) if _FIRST_MS <= timestamp_ms < _LAST_MS else None


def served_key(prospect: bytes) -> bytes:
    """Under which key of the consent table the served index of a prospect (record key) lies."""
    return SERVED + prospect


def prospect_of(key: bytes) -> bytes | None:
    """Whose served index lies under this key of the consent table; None of every other key."""
    return key[len(SERVED) :] if key.startswith(SERVED) else None


def encode_served(parties: dict[str, ServedParty]) -> bytes | None:
    """Write what each party was served; None where that is nothing."""
    return _encode(ServedIndex(parties=parties)) if parties else None


def decode_served(raw: bytes | None) -> ServedIndex:
    """Read an index; no bytes is the empty one. Raises msgspec.DecodeError when the changelog is damaged."""
    return NOBODY_SERVED if raw is None else _SERVED.decode(raw)
