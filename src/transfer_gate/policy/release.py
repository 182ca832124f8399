"""What a partner gets of a released record: what may travel (rules.md section 5), and the obligations that come with it
(rules.md section 4).
"""

import datetime as dt
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from transfer_gate.model.decision import CallWindow
from transfer_gate.model.terms import Channel
from transfer_gate.model.transfer import AttributeValue, Contact
from transfer_gate.policy.facts import CALLS, Facts
from transfer_gate.policy.legal_time import add_months
from transfer_gate.policy.view import NoticeFile, Payload

_NONE: Final[dict[str, AttributeValue]] = {}


def project(f: Facts, channels: Sequence[Channel], notices: Sequence[NoticeFile | None]) -> Payload:
    """The part of the transfer that the partner may have over these channels; `notices` holds the n of every one of
    them."""
    names = f.partner.forwardable if f.partner is not None else frozenset()
    for notice in notices:
        names = names & notice.attributes if notice is not None else frozenset()
    attributes = {name: value for name, value in (f.event.attributes or _NONE).items() if name in names}
    email = phone = postal = None
    for channel in channels:
        if channel == "email":
            email = f.contact.email
        elif channel == "postal":
            postal = f.contact.postal
        else:
            phone = f.contact.phone
    return Payload(channels, notices, Contact(email=email, phone=phone, postal=postal), attributes)


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
