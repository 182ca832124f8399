"""Rules about banned sectors: home works by phone and by message."""

import datetime as dt
from typing import Final

from transfer_gate.policy.facts import ENERGY, HOME_WORKS, PHONE_LAW, Facts
from transfer_gate.policy.rule import Scope, rule

#: Loi 2025-594: from this day messages of these sectors are banned.
MESSAGES_DAY: Final = dt.date(2025, 7, 2)


@rule(
    "sector-ban-home-works",
    title="Home works may not be sold by phone, whatever the consent",
    reference="L223-1 al. 3 (2020), al. 5 (2026), R223-4",
    channels=("live_call", "automated_call"),
    kinds=("consumer",),
    first_day=dt.date(2020, 7, 26),
    scope=Scope.CHANNEL,
)
def ban_home_works(f: Facts) -> bool:
    """`event.offer_category` is present and neither `energy_saving` nor `renewable` nor, since 2026-08-11,
    `home_adaptation` or `home_works_service`; or *own contract*; or *call-back*. Consent changes nothing."""
    banned = HOME_WORKS if f.w >= PHONE_LAW else ENERGY
    offer = f.event.offer_category
    return (offer is not None and offer not in banned) or f.own_contract or f.call_back_until is not None


@rule(
    "sector-ban-messages",
    title="Home works may not be sold by e-mail or SMS",
    reference="L223-8, L242-16-1 (the contract is void)",
    channels=("email", "sms"),
    kinds=("consumer",),
    first_day=MESSAGES_DAY,
)
def ban_messages(f: Facts) -> bool:
    """`event.offer_category` is present and none of `energy_saving`, `renewable`, `home_adaptation`,
    `home_works_service`; or *own contract*."""
    offer = f.event.offer_category
    return (offer is not None and offer not in HOME_WORKS) or f.own_contract
