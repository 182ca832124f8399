"""What the partner must respect with a released record (rules.md section 4)."""

import datetime as dt
from functools import lru_cache
from typing import Final

from transfer_gate.model.decision import CallWindow
from transfer_gate.policy.facts import CALLS, Facts
from transfer_gate.policy.legal_time import add_months

#: Calls to one consumer by one partner in 30 calendar days (D223-9 C. conso.).
MAX_CALL_ATTEMPTS: Final = 4
DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday")
HOURS: Final = ("10:00-13:00", "14:00-20:00")

#: Country of the consumer to the call window (D223-9) in the consumer's own time zone.
CALL_WINDOWS: Final = {
    country: CallWindow(days=DAYS, hours=HOURS, public_holidays=False, time_zone=zone)
    for country, zone in {
        "FR": "Europe/Paris",
        "GP": "America/Guadeloupe",
        "MQ": "America/Martinique",
        "GF": "America/Cayenne",
        "RE": "Indian/Reunion",
        "YT": "Indian/Mayotte",
    }.items()
}


def use_before(f: Facts) -> dt.datetime:
    """When the channel that `f` looks at must no longer be used."""
    ends = f.use_until
    if f.basis == "request":
        return min(ends, f.call_back_until or ends)
    if f.basis == "consent" and not f.is_valid_at(ends):
        ends = f.expires_at or ends
    if f.channel in CALLS and f.phone_rules_apply:
        ends = min(ends, f.act_ends_at or ends)
    return ends


@lru_cache(maxsize=16)
def art14_due_at(t: dt.datetime) -> dt.datetime:
    """When the person must have been informed of the partner at the latest: one month (GDPR 14(3)(a))."""
    return add_months(t, 1)
