"""What a partner did about a record of its suppression topic (contract section 5a)."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from transfer_gate.model.terms import Instant

AcknowledgedState = Literal["received", "applied", "unknown", "refused"]


class Acknowledgement(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """`received`: it will be applied; `applied`: done; `unknown`: the partner does not have the person; `refused`: with
    the reason in `detail`. Its key is the `prospect_id` of the notice.
    """

    notice_id: Annotated[str, Meta(min_length=1, max_length=128)]
    state: AcknowledgedState
    at: Instant
    detail: Annotated[str, Meta(max_length=1000)] | None = None


_DECODER: Final = msgspec.json.Decoder(Acknowledgement)


def decode_acknowledgement(raw: bytes | None) -> Acknowledgement | None:
    """Read an acknowledgement; None when it can't be read."""
    try:
        return _DECODER.decode(raw or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
