"""A quarantine record as a JSON object: for listings, export and programs. Nobody is named unless it is asked for."""

import datetime as dt
from typing import Any

import msgspec

from transfer_gate.errors import InvalidInput
from transfer_gate.printable import without_contacts
from transfer_gate.quarantine.browse import Place
from transfer_gate.quarantine.payloads import Payload
from transfer_gate.quarantine.selection import Found
from transfer_gate.records import masking
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings


def described(one: Found, *, reveal: bool = False) -> dict[str, Any]:
    """What its headers and the ledger say; `prospect_id` (the record key) is masked unless `reveal`."""
    held, record = one.held, one.record
    return {
        "quarantine_id": held.quarantine_id,
        "place": str(Place(record.partition, record.offset)),
        "state": one.state,
        "attempt": held.attempt,
        "stage": held.stage,
        "partner": None if held.partner_id is None else without_contacts(held.partner_id),
        "channels": list(held.channels),
        "reasons": {channel: list(reasons) for channel, reasons in held.reasons.items()},
        "prospect_id": prospect(one, reveal=reveal),
        "quarantined_at": held.quarantined_at,
        "first_quarantined_at": held.first_quarantined_at,
        "source": {**msgspec.to_builtins(held.source), "time": time_of(held.source_timestamp_ms)},
        "decision_id": held.decision_id,
        "policy_revision": held.revision,
        "consent_offset": held.consent_offset,
        "replay_run": held.replay_run,
        "encrypted": held.encryption is not None,
    }


def prospect(one: Found, *, reveal: bool) -> str | None:
    """The record's key as text; masked unless `reveal`, None where the record has none."""
    if one.record.key is None:
        return None
    return one.record.key.decode(errors="backslashreplace") if reveal else masking.MASK


def shown(payload: Payload, domains: frozenset[str] = frozenset(), *, reveal: bool = False) -> Any:
    """A payload for people: masked, or as it came in, as JSON where it is JSON; None where there is nothing to show."""
    if payload.value is None:
        return None
    if not reveal:
        return masking.masked(payload.value, domains)
    try:
        return msgspec.json.decode(payload.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError):
        return payload.value.decode(errors="backslashreplace")


def shared_domains(settings: Settings) -> frozenset[str]:
    """Mail domains that many people share, so that they may be shown; none when there is no registry here."""
    try:
        return frozenset(load_registry(settings.registry).policy.free_mail_domains)
    except InvalidInput:
        return frozenset()


def time_of(timestamp_ms: int) -> str | None:
    """RFC 3339 in UTC; None for a timestamp that no calendar has (-1: the record has none)."""
    try:
        at = dt.datetime.fromtimestamp(timestamp_ms / 1000, dt.UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if timestamp_ms >= 0 else None
