"""The served index of a prospect as bytes: a value of the consent changelog, under a key of its own beside the state.

In one topic with the states: so one restore brings both, and they move together to another partition. Apart from the
state: so a release does not write the history of a person anew.
"""

from typing import Final

import msgspec

from transfer_gate.model.served import NOBODY_SERVED, ServedIndex, ServedParty

#: How the key of a served index begins. No prospect has it: it is not UTF-8.
SERVED: Final = b"\xffserved-"

_DECODER: Final = msgspec.json.Decoder(ServedIndex)
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


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
    return NOBODY_SERVED if raw is None else _DECODER.decode(raw)
