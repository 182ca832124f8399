"""What the audit topic holds: one record for every act of an operator (contract section 1)."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from transfer_gate.model.terms import Instant


class Act(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One act of an operator.

    `action` is the command, such as `replay run`; `by` is the operator, `at` (UTC) when, `plan_id` and `digest` what
    it was about, `ticket` and `why` what for. `details` never hold contact data.
    """

    action: str
    by: str
    at: Instant
    outcome: str
    plan_id: str | None = None
    digest: str | None = None
    ticket: str | None = None
    why: str | None = None
    details: dict[str, Any] = {}


_DECODER: Final = msgspec.json.Decoder(Act)
encode_act = msgspec.json.Encoder().encode


def decode_act(raw: bytes | None) -> Act:
    """Read an act. Raises msgspec.DecodeError when the record is none."""
    return _DECODER.decode(raw or b"")
