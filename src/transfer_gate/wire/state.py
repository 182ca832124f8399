"""The folded state of a prospect as bytes: the value of the consent changelog, JSON that an operator can read."""

from typing import Final

import msgspec

from transfer_gate.model.state import EMPTY, ProspectState

_DECODER: Final = msgspec.json.Decoder(ProspectState)
encode_state = msgspec.json.Encoder().encode


def decode_state(raw: bytes | None) -> ProspectState:
    """Read a state; no bytes is the empty state. Raises msgspec.DecodeError when the changelog is damaged."""
    return EMPTY if raw is None else _DECODER.decode(raw)
