"""Rules about the data: its age, minors, special categories, minimisation."""

import datetime as dt
from typing import Final

from transfer_gate.model.transfer import AttributeValue
from transfer_gate.policy.facts import Facts
from transfer_gate.policy.legal_time import birthday, day_of, within_months
from transfer_gate.policy.rule import Scope, rule
from transfer_gate.policy.view import Payload

#: Contacts that show that the person is still there (CNIL référentiel 2022); an opened e-mail does not.
SIGNS_OF_LIFE: Final = frozenset({"click", "reply", "order", "login", "inbound_call", "form"})
#: LIL 45: a minor consents alone from this age.
AGE_OF_CONSENT: Final = 15
AGE_OF_MAJORITY: Final = 18


@rule(
    "retention-three-years",
    title="Data of a prospect is kept for three years from collection or from the last sign of life",
    reference="GDPR 5(1)(e); CNIL référentiel 2022, recommandation 2026-042",
    kinds=("consumer", "professional"),
    first_day=dt.date(2022, 2, 3),
)
def retention_three_years(f: Facts) -> bool:
    """t < m + 3 years; m is the later of `event.collected_at`, which is needed, and `event.last_active_contact.at` if
    its `type` is `click`, `reply`, `order`, `login`, `inbound_call` or `form`, and for `click`
    `event.last_active_contact.measured_with_consent` is not false."""
    m, contact = f.event.collected_at, f.event.last_active_contact
    if m is None:
        return False
    if (
        contact is not None
        and contact.at is not None
        and contact.type in SIGNS_OF_LIFE
        and (contact.type != "click" or contact.measured_with_consent is not False)
    ):
        m = max(m, contact.at)
    return within_months(f.t, m, 36)


def _of_a_natural_person(f: Facts) -> bool:
    # A missing kind is a consumer (1.5), here as well: silence must not open the gate to a minor.
    return f.subject.kind in (None, "consumer") or f.birth_date is not None


@rule(
    "minor-consent",
    title="Below 15 a parent consents too; below 18 there is no prospecting without consent",
    reference="GDPR 8; LIL 45",
    kinds=("consumer", "professional"),
    first_day=dt.date(2018, 6, 22),
    when=_of_a_natural_person,
    when_words="`event.subject.kind` is `consumer` or missing, or `.birth_date` present",
)
def minor_consent(f: Facts) -> bool:
    """Consent: 15 on the day of `consent.event_time` (of t without c), or `consent.guardian` complete and its
    `event_time` not future. Legitimate interest, request: 18 on the day of t. No `birth_date`:
    `policy.minor_unknown_age` is `allow`; nor is one after the day of t, or 120 years or more before it: a
    placeholder."""
    birth_date = f.birth_date
    if birth_date is None:
        return f.policy.minor_unknown_age == "allow"
    if f.basis != "consent":
        return _has_age(birth_date, AGE_OF_MAJORITY, f.t)
    return _has_age(birth_date, AGE_OF_CONSENT, f.consent.event_time if f.consent else f.t) or _guardian_consented(f)


def _has_age(birth_date: dt.date, age: int, at: dt.datetime) -> bool:
    # The year in Paris is the year in UTC, or the next: two years more are enough without a calendar.
    return at.year - birth_date.year >= age + 2 or birthday(birth_date, age) <= day_of(at)


def _guardian_consented(f: Facts) -> bool:
    guardian = f.guardian
    return (
        guardian.party_id is not None
        and guardian.proof_id is not None
        and guardian.event_time is not None
        and not f.is_future(guardian.event_time)
    )


@rule(
    "special-category-block",
    title="Data that reveals a special category goes nowhere without explicit consent to it",
    reference="GDPR 9(2)(a); COSMOSPACE",
)
def special_category_block(f: Facts) -> bool:
    """For every name in `event.attributes`, forwarded or not, that has a special category: c covers, and the category
    is in `consent.special_categories`."""
    special = f.view.special
    if not f.event.attributes or f.view.special_names.isdisjoint(f.event.attributes):
        return True
    if f.consent is None or not f.covers:
        return False
    return all(special[name] in f.consent.special_categories for name in f.event.attributes if name in special)


@rule(
    "payload-minimised",
    title="The record to be sent is what may be sent and nothing more",
    reference="GDPR 5(1)(c)",
    scope=Scope.CHANNEL,
)
def payload_minimised(f: Facts) -> bool:
    """The record about to be sent is the projection of section 5: a guard against defects."""
    # As the text says it, and apart from `policy.release`, whose defects it is there to catch.
    sent = f.payload
    return sent is None or (_has_points_of_released_channels(f, sent) and sent.attributes == _allowed(f, sent))


def _has_points_of_released_channels(f: Facts, sent: Payload) -> bool:
    contact, channels = f.contact, sent.channels
    texts_or_calls = "sms" in channels or "automated_call" in channels or "live_call" in channels
    return (
        sent.contact.email is (contact.email if "email" in channels else None)
        and sent.contact.phone is (contact.phone if texts_or_calls else None)
        and sent.contact.postal is (contact.postal if "postal" in channels else None)
    )


def _allowed(f: Facts, sent: Payload) -> dict[str, AttributeValue]:
    allowed: dict[str, AttributeValue] = {}
    if f.partner is None:
        return allowed
    fields, known = f.partner.fields, f.view.known_attributes
    declared = [frozenset() if notice is None else notice.attributes for notice in sent.notices]
    for name, value in (f.event.attributes or {}).items():
        if name in fields and name in known:
            for names in declared:
                if name not in names:
                    break
            else:
                allowed[name] = value
    return allowed
