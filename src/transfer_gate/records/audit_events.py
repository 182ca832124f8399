"""Audit events: who did what from the command line, as records of the audit topic (contract section 1)."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from transfer_gate.model.terms import Instant


class AuditEvent(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What an operator did.

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


_DECODER: Final = msgspec.json.Decoder(AuditEvent)
encode_audit_event = msgspec.json.Encoder().encode


def decode_audit_event(raw: bytes | None) -> AuditEvent:
    """Read an audit event. Raises msgspec.DecodeError when the record is not one."""
    return _DECODER.decode(raw or b"")
