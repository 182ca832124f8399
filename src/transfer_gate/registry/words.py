"""What each field of the registry is called when a data protection officer reads about it, and which rules read it."""

import datetime as dt
from typing import Final
from zoneinfo import ZoneInfo

from transfer_gate.model.reasons import Reason

_PARIS: Final = ZoneInfo("Europe/Paris")

_RELATED: Final[tuple[Reason, ...]] = (
    "b2b-scope",
    "phone-optout-bloctel",
    "phone-ongoing-contract",
    "sector-ban-home-works",
    "sector-ban-messages",
)

_OPPOSED: Final[tuple[Reason, ...]] = ("not-objected", "contact-not-stopped", "not-withdrawn")

#: Field, `[]` for any entry of a mapping, to what it is called and the reasons that may come or go when it changes
#: (rules.md section 3).
FIELDS: Final[dict[str, tuple[str, tuple[Reason, ...]]]] = {
    "partner.legal_name": ("legal name", ()),
    "partner.registration_no": ("number in the trade register", _OPPOSED),
    "partner.country": ("country", ("third-country-safeguard",)),
    "partner.role": ("role under the GDPR", ("partner-role-controller",)),
    "partner.status": ("status", ("partner-paused", "partner-known-and-contracted")),
    "partner.categories": ("what it deals in", ("li-recipient-expected",)),
    "partner.contract": ("contract", ("partner-known-and-contracted",)),
    "partner.contract.id": ("reference of the contract", ()),
    "partner.contract.valid_from": ("start of the contract", ("partner-known-and-contracted",)),
    "partner.contract.valid_to": ("end of the contract", ("partner-known-and-contracted",)),
    "partner.contract.no_onward": ("contract forbids to pass prospects on", ("partner-known-and-contracted",)),
    "partner.suppression": ("channel for withdrawals", ("partner-known-and-contracted",)),
    "partner.suppression.topic": ("topic for withdrawals", ("partner-known-and-contracted",)),
    "partner.suppression.endpoint": ("address for withdrawals", ("partner-known-and-contracted",)),
    "partner.suppression.sla_hours": ("hours to apply a withdrawal", ()),
    "partner.listed": ("periods on the list of partners", ("partner-listed-now",)),
    "partner.transfer_safeguard": ("safeguard for a third country", ("third-country-safeguard",)),
    "partner.transfer_safeguard.type": ("kind of safeguard", ("third-country-safeguard",)),
    "partner.transfer_safeguard.valid_from": ("start of the safeguard", ("third-country-safeguard",)),
    "partner.transfer_safeguard.valid_to": ("end of the safeguard", ("third-country-safeguard",)),
    "partner.privacy_policy": ("privacy policy", ()),
    "partner.fields": ("attributes it may receive", ("payload-minimised",)),
    "partner.topic": ("topic it reads", ()),
    "notice.published_from": ("published from", ("notice-in-force-at-collection",)),
    "notice.published_to": ("published until", ("notice-in-force-at-collection",)),
    "notice.text_hash": ("hash of its text", ("consent-proof-individual",)),
    "notice.purposes": ("declared purposes", ("purpose-specific", "li-informed")),
    "notice.attributes": ("declared attributes", ("payload-minimised",)),
    "notice.partner_list": ("list of partners", ("partner-named-at-consent", "li-recipient-expected")),
    "notice.partner_list.version": ("version of its list of partners", ("partner-named-at-consent",)),
    "notice.partner_list.mode": (
        "how it shows its list of partners",
        ("partner-named-at-consent", "phone-named-pro-and-offer"),
    ),
    "notice.partner_list.exhaustive": ("list of partners is exhaustive", ("partner-named-at-consent",)),
    "notice.partner_list.party_ids": (
        "partners it names",
        ("partner-named-at-consent", "no-onward-consent", "li-recipient-expected"),
    ),
    "notice.recipient_categories": ("kinds of recipients it announces", ("li-informed", "li-recipient-expected")),
    "notice.objection": ("right to object", ("li-informed",)),
    "notice.objection.present": ("tells of the right to object", ("li-informed",)),
    "notice.objection.free": ("objecting is free", ("li-informed",)),
    "notice.objection.at_collection": ("form lets the person object", ("li-informed",)),
    "notice.phone_optin_statement": ("says that calls need consent", ("phone-collection-statement",)),
    "notice.r223_mentions": ("mentions of R223-1", ("phone-named-pro-and-offer",)),
    "notice.r223_mentions.identity": ("mentions who will call", ("phone-named-pro-and-offer",)),
    "notice.r223_mentions.offer": ("mentions the kind of offer", ("phone-named-pro-and-offer",)),
    "notice.r223_mentions.choice": ("mentions the free choice", ("phone-named-pro-and-offer",)),
    "notice.r223_mentions.period": ("mentions how long consent is valid", ("phone-named-pro-and-offer",)),
    "notice.r223_mentions.withdrawal": ("mentions how to withdraw", ("phone-named-pro-and-offer",)),
    "notice.r223_mentions.proof_access": ("mentions how to obtain the proof", ("phone-named-pro-and-offer",)),
    "notice.controls": ("boxes and buttons", ("consent-valid-act", "form-not-deceptive")),
    "notice.review": ("review", ("form-not-deceptive",)),
    "notice.review.status": ("outcome of the review", ("form-not-deceptive",)),
    "notice.review.by": ("reviewer", ()),
    "notice.review.at": ("time of the review", ()),
    "policy.jurisdiction": ("jurisdiction", ("jurisdiction-covered",)),
    "policy.attributes": ("attributes that may leave the house", ("special-category-block", "payload-minimised")),
    "policy.attributes[].special_category": ("special category of", ("special-category-block",)),
    "policy.related_offers": ("categories that have related offers", _RELATED),
    "policy.related_offers[]": ("offers and jobs related to", _RELATED),
    "policy.adequate_countries": ("countries with an adequacy decision", ("third-country-safeguard",)),
    "policy.free_mail_domains": (
        "mail domains that make a consumer",
        ("electronic-optin", "b2b-scope", "phone-optin"),
    ),
    "policy.list_changes": ("when the list of partners changes", ("li-recipient-expected",)),
    "policy.minor_unknown_age": ("when the age is unknown", ("minor-consent",)),
    "policy.bloctel_max_age_days": ("days a Bloctel check is good for", ("phone-optout-bloctel",)),
    "policy.clock_skew_seconds": ("seconds a clock may be ahead", ("clock-sane",)),
    "policy.unidentified_ids": ("prospect ids that stand for nobody", ("prospect-unidentified",)),
    "policy.own_parties": ("own names of parties", _OPPOSED),
    "policy.own_purposes": ("own purposes", _OPPOSED),
    "policy.published_at": ("time of publication", ()),
}


def in_paris(instant: dt.datetime) -> str:
    """An instant on the clock that the rules are written in, such as `2026-09-01 00:00+02:00`, as exact as it is."""
    local = instant.astimezone(_PARIS)
    return local.isoformat(" ", "auto" if local.second or local.microsecond else "minutes")
