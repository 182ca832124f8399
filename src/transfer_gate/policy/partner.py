"""Rules about the partner's file: contract, role, publication, country."""

import datetime as dt

from transfer_gate.policy.facts import Facts
from transfer_gate.policy.rule import Scope, rule


def _within(start: dt.datetime | None, t: dt.datetime, end: dt.datetime | None) -> bool:
    # An absent end is open (rules.md 1.1); an absent start is a missing field, and fails.
    return start is not None and start <= t and (end is None or t < end)


@rule(
    "partner-known-and-contracted",
    title="The partner is under a contract that forbids passing prospects on, and can be told of oppositions",
    reference="GDPR 5(2), 24",
    marks="p",
    scope=Scope.PARTNER,
)
def known_and_contracted(f: Facts) -> bool:
    """`partner.status` is not `suspended`; `partner.contract` is valid at t and has `no_onward`;
    `partner.suppression` has a `topic` or an `endpoint`."""
    p = f.partner
    return (
        p is not None
        and p.status != "suspended"
        and _within(p.contract.valid_from, f.t, p.contract.valid_to)
        and p.contract.no_onward is True
        and (p.suppression.topic is not None or p.suppression.endpoint is not None)
    )


@rule(
    "partner-role-controller",
    title="The partner receives the data as a controller, not as our processor",
    reference="GDPR 4(7), 28",
    marks="p",
)
def role_controller(f: Facts) -> bool:
    """`event.partner_roles` for the partner, else `partner.role`, is `controller`."""
    return f.partner_role == "controller"


@rule(
    "partner-listed-now",
    title="The partner stands on the published list of partners",
    reference="CNIL partner fiche",
    marks="p",
    first_day=dt.date(2018, 12, 28),
    scope=Scope.PARTNER,
)
def listed_now(f: Facts) -> bool:
    """An entry of `partner.listed` contains t."""
    return f.partner is not None and any(_within(period.from_, f.t, period.to) for period in f.partner.listed)


@rule(
    "third-country-safeguard",
    title="Data leaves the EEA only for an adequate country or under a safeguard",
    reference="GDPR 44–46",
    marks="p",
    scope=Scope.PARTNER,
)
def third_country_safeguard(f: Facts) -> bool:
    """`partner.country` is in the EEA or in `policy.adequate_countries`, or `partner.transfer_safeguard` is valid at
    t."""
    p = f.partner
    return p is not None and (
        p.country in f.view.safe_countries
        or _within(p.transfer_safeguard.valid_from, f.t, p.transfer_safeguard.valid_to)
    )
