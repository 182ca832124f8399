"""Which versions of which consent records count at a time (rules.md 1.3)."""

import datetime as dt

from transfer_gate.model.consent import Consent
from transfer_gate.model.state import STATE_RANK, KeptConsent, Opposition, ProspectState


def current_records(state: ProspectState, horizon: dt.datetime) -> tuple[list[KeptConsent], tuple[Opposition, ...]]:
    """The live records, and everything that counts as a withdrawal: the withdrawals and the refused records.

    Of each record the version with the greatest (counted time, state, event id) counts; a `given` or `renewed` one
    that is dated after `horizon` is left out, what takes away counts from its receipt. An expired or invalidated record
    is nothing.
    """
    records: dict[str, KeptConsent] = {}
    for version in state.consents:
        if version.event_time <= horizon or version.state not in ("given", "renewed"):
            known = records.get(version.record_id)
            if known is None or not _counts_less(version, known):
                records[version.record_id] = version
    live: list[KeptConsent] = []
    withdrawals = state.withdrawals
    for record in records.values():
        if record.state in ("given", "renewed"):
            live.append(record)
        elif record.state == "refused":
            withdrawals += (as_withdrawal(record),)
    return live, withdrawals


def future_consents(state: ProspectState, horizon: dt.datetime) -> list[Consent]:
    """The given and renewed consents that are left out because they are dated in the future."""
    return [
        version for version in state.consents if version.event_time > horizon and version.state in ("given", "renewed")
    ]


def _counts_less(version: KeptConsent, other: KeptConsent) -> bool:
    # Most versions differ by their time.
    if version.counted_at != other.counted_at:
        return version.counted_at < other.counted_at
    return (STATE_RANK[version.state], version.event_id) < (STATE_RANK[other.state], other.event_id)


def as_withdrawal(refused: KeptConsent) -> Opposition:
    """What a refused consent withdraws (contract section 3)."""
    return Opposition(
        event_time=refused.event_time,
        event_id=refused.event_id,
        received_at=refused.received_at,
        channels=refused.channels,
        party_ids=_everything_or(refused.party_ids),
        purposes=_everything_or(refused.purposes),
    )


def _everything_or(words: tuple[str, ...]) -> tuple[str, ...]:
    # As in the scope of a withdrawal: ["all"] read as the name of one party would lose a refusal.
    return () if "all" in words else words
