"""Rules about calls to consumers: Bloctel until 2026-08-10, consent since 2026-08-11 (loi 2025-594, decree
2026-662)."""

import datetime as dt
from collections.abc import Callable
from typing import Final

from transfer_gate.model.terms import RuleId
from transfer_gate.policy.facts import PHONE_LAW, Facts
from transfer_gate.policy.legal_time import elapsed, within_months
from transfer_gate.policy.rule import Condition, Rule, Scope, Status, rule

PHONE_LAW_DAY: Final = dt.date(2026, 8, 11)


def _outside_press_and_contract(f: Facts) -> bool:
    return not f.is_press and not f.own_contract


_OUTSIDE: Final = "neither *press* nor *own contract*"


@rule(
    "phone-optout-bloctel",
    title="Until 2026-08-10 a consumer on the Bloctel list may not be called",
    reference="L223-1 (2020), L223-3 C. conso.",
    channels=("live_call",),
    kinds=("consumer",),
    first_day=dt.date(2016, 6, 1),
    end_day=PHONE_LAW_DAY,
    when=_outside_press_and_contract,
    when_words=_OUTSIDE,
    scope=Scope.CHANNEL,
)
def optout_bloctel(f: Facts) -> bool:
    """`event.bloctel.listed` false; t ≤ `event.bloctel.checked_at` + `policy.bloctel_max_age_days` days."""
    bloctel = f.bloctel
    return (
        bloctel.listed is False
        and bloctel.checked_at is not None
        and f.t <= elapsed(bloctel.checked_at, dt.timedelta(days=f.policy.bloctel_max_age_days))
    )


@rule(
    "phone-optin",
    title="Since 2026-08-11 a consumer may be called only with prior consent",
    reference="L223-1 al. 1–4, L223-5",
    channels=("live_call",),
    kinds=("consumer",),
    bases={"consent": ""},
    first_day=PHONE_LAW_DAY,
    scope=Scope.CHANNEL,
)
def optin(f: Facts) -> bool:
    """c exists; `consent.lawful_basis` is `consent`."""
    return f.consent is not None and f.consent.lawful_basis == "consent"


def phone_consent_rule(
    rule_id: RuleId,
    *,
    title: str,
    reference: str,
    status: Status = Status.CONTESTED,
    marks: str = "c",
    when: Condition = _outside_press_and_contract,
    when_words: str = _OUTSIDE,
) -> Callable[[Condition], Rule]:
    """A rule of the *phone consent rules* (1.5); for automated calls they are house policy."""
    return rule(
        rule_id,
        title=title,
        reference=reference,
        status=status,
        channels=("live_call", "automated_call"),
        kinds=("consumer",),
        bases={"consent": marks},
        first_day=PHONE_LAW_DAY,
        when=when,
        when_words=when_words,
    )


@phone_consent_rule(
    "phone-named-pro-and-offer",
    title="Consent to calls names the professional and the kind of offer, and the form has the six mentions",
    reference="R223-1 I",
    marks="cn",
)
def named_pro_and_offer(f: Facts) -> bool:
    """The partner is in `consent.party_ids`; `event.offer_category` is in `consent.offer_categories`;
    `notice.partner_list.mode` is `inline`; all six of `notice.r223_mentions` true, also for consents older than the
    law."""
    c, n = f.consent, f.notice
    if c is None or n is None:
        return False
    mentions = n.r223_mentions
    return (
        f.partner_id in c.party_ids
        and f.event.offer_category in c.offer_categories
        and n.partner_list.mode == "inline"
        and mentions.identity is True
        and mentions.offer is True
        and mentions.choice is True
        and mentions.period is True
        and mentions.withdrawal is True
        and mentions.proof_access is True
    )


@phone_consent_rule(
    "phone-consent-one-year",
    title="Consent to calls ends after one year, and nothing renews it tacitly",
    reference="R223-1 I 3, II",
)
def consent_one_year(f: Facts) -> bool:
    """`consent.validity` present, the period that the person consented to, and at most 1 year; `use_until` <
    `consent.event_time` + `consent.validity` and < act(c) + 1 year; `renewed` with the old proof keeps its act."""
    return (
        f.act is not None
        and within_months(f.use_until, f.act, 12)
        and f.is_valid_for_a_year_at_most
        and f.is_valid_at(f.use_until)
    )


@phone_consent_rule(
    "phone-proof-three-years",
    title="The proof of a consent to calls is dated to the hour and kept for three years",
    reference="R223-2",
)
def proof_three_years(f: Facts) -> bool:
    """`consent.proof.kept_until` ≥ `consent.event_time` + 3 years; `consent.time_precise` true, which is its
    default."""
    return (
        f.consent is not None
        and f.consent.time_precise
        and f.proof.kept_until is not None
        and not within_months(f.proof.kept_until, f.consent.event_time, 36)
    )


def _number_collected_under_the_law(f: Facts) -> bool:
    return _outside_press_and_contract(f) and (f.event.collected_at is None or f.event.collected_at >= PHONE_LAW)


@phone_consent_rule(
    "phone-collection-statement",
    title="The form that asked for the number said that calls need consent",
    reference="L223-2",
    status=Status.SETTLED,
    marks="cn",
    when=_number_collected_under_the_law,
    when_words=f"{_OUTSIDE}; `event.collected_at` missing or ≥ 2026-08-11",
)
def collection_statement(f: Facts) -> bool:
    """`event.collected_at` present; `notice.phone_optin_statement` true."""
    return f.event.collected_at is not None and f.notice is not None and f.notice.phone_optin_statement is True


def _relies_on_a_contract(f: Facts) -> bool:
    return f.event.contract is not None and (
        (f.basis == "consent" and f.consent is None) or (optout_bloctel.applies(f) and not optout_bloctel.holds(f))
    )


@rule(
    "phone-ongoing-contract",
    title="A contract opens the phone only to the party that holds it, for something related",
    reference="L223-1 al. 4",
    channels=("live_call",),
    kinds=("consumer",),
    first_day=dt.date(2020, 7, 26),
    when=_relies_on_a_contract,
    when_words="`event.contract` present and relied on: basis consent without c, or `phone-optout-bloctel` failing",
    scope=Scope.CHANNEL,
)
def ongoing_contract(f: Facts) -> bool:
    """*own contract*: the collector's is not inherited."""
    return f.own_contract
