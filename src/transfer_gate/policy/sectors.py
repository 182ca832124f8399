"""Rules about banned sectors: home works by phone and by message."""

import datetime as dt
from typing import Final

from transfer_gate.policy.facts import Facts
from transfer_gate.policy.legal_time import midnight
from transfer_gate.policy.rule import Scope, Status, rule

#: Loi 2020-901: energy savings and renewable energies.
ENERGY: Final = frozenset({"energy_saving", "renewable"})
#: Loi 2025-594: adaptation of the home to age or disability joins them. Contested: perhaps only from 2026-08-11.
HOME_WORKS: Final = ENERGY | {"home_adaptation"}
HOME_ADAPTATION_DAY: Final = dt.date(2025, 7, 2)
_HOME_ADAPTATION: Final = midnight(HOME_ADAPTATION_DAY)


@rule(
    "sector-ban-home-works",
    title="Home works may not be sold by phone, whatever the consent",
    reference="L223-1 al. 5, R223-4",
    channels=("live_call", "automated_call"),
    kinds=("consumer",),
    first_day=dt.date(2020, 7, 26),
    scope=Scope.CHANNEL,
)
def ban_home_works(f: Facts) -> bool:
    """`event.offer_category` is present and neither `energy_saving` nor `renewable` nor, since 2025-07-02,
    `home_adaptation`; or *own contract*; or *call-back*. Consent changes nothing."""
    banned = HOME_WORKS if f.w >= _HOME_ADAPTATION else ENERGY
    offer = f.event.offer_category
    return (offer is not None and offer not in banned) or f.own_contract or f.call_back_until is not None


@rule(
    "sector-ban-messages",
    title="Home works may not be sold by e-mail or SMS",
    reference="L223-8",
    status=Status.CONTESTED,
    channels=("email", "sms"),
    kinds=("consumer",),
    first_day=HOME_ADAPTATION_DAY,
)
def ban_messages(f: Facts) -> bool:
    """`event.offer_category` is present and neither `energy_saving`, `renewable` nor `home_adaptation`; or
    *own contract*."""
    offer = f.event.offer_category
    return (offer is not None and offer not in HOME_WORKS) or f.own_contract
