"""Which versions of which consent records count at a time (rules.md 1.3)."""

import datetime as dt

from transfer_gate.model.consent import Consent
from transfer_gate.model.state import Opposition, ProspectState


def current_records(state: ProspectState, horizon: dt.datetime) -> tuple[list[Consent], tuple[Opposition, ...]]:
    """The live records, and everything that counts as a withdrawal: the withdrawals and the refused records.

    Of each record the greatest version counts that is not future, which is: not later than `horizon`. The state keeps
    the versions of a record in ascending order (time, state, event id). An expired or invalidated record is nothing.
    """
    records: dict[str, Consent] = {}
    for version in state.consents:
        if version.event_time <= horizon:
            records[version.record_id] = version
    live: list[Consent] = []
    withdrawals = state.withdrawals
    for record in records.values():
        if record.state in ("given", "renewed"):
            live.append(record)
        elif record.state == "refused":
            withdrawals += (_as_withdrawal(record),)
    return live, withdrawals


def future_consents(state: ProspectState, horizon: dt.datetime) -> list[Consent]:
    """The given and renewed consents that are left out because they are dated in the future."""
    return [
        version for version in state.consents if version.event_time > horizon and version.state in ("given", "renewed")
    ]


def _as_withdrawal(refused: Consent) -> Opposition:
    return Opposition(
        event_time=refused.event_time,
        event_id=refused.event_id,
        channels=refused.channels,
        party_ids=_everything_or(refused.party_ids),
        purposes=_everything_or(refused.purposes),
    )


def _everything_or(words: tuple[str, ...]) -> tuple[str, ...]:
    # As in the scope of a withdrawal: ["all"] read as the name of one party would lose a refusal.
    return () if "all" in words else words
