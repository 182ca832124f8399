"""Rules about consent and about purpose, notice and source, which legitimate interest shares."""

import datetime as dt
from typing import Final

from transfer_gate.model.terms import Channel
from transfer_gate.policy.facts import Facts
from transfer_gate.policy.rule import Scope, Status, rule

ELECTRONIC: Final[tuple[Channel, ...]] = ("email", "sms", "automated_call")
#: Acts that are unambiguous (GDPR 4(11)). Recorded oral consent is contested and not accepted (rules.md section 6).
CLEAR_ACTS: Final = frozenset({"unticked_box_ticked", "signature", "dedicated_action"})


@rule(
    "electronic-optin",
    title="E-mail, SMS and automated calls to a consumer need prior consent",
    reference="L34-5, L32 32° CPCE; GDPR 6(1)(a)",
    channels=ELECTRONIC,
    bases={"consent": ""},
)
def electronic_optin(f: Facts) -> bool:
    """c exists; `consent.lawful_basis` is `consent`; t < `consent.event_time` + `consent.validity`, if there is one."""
    return f.consent is not None and f.consent.lawful_basis == "consent" and f.is_valid_at(f.t)


@rule(
    "no-soft-optin-for-partners",
    title="A customer of the collector is not a customer of the partner",
    reference="L34-5 al. 4; ACCOR; C-654/23",
    channels=ELECTRONIC,
    bases={"consent": "c"},
)
def no_soft_optin(f: Facts) -> bool:
    """`consent.lawful_basis` is there and is not `existing_customer`."""
    return f.consent is not None and f.consent.lawful_basis not in (None, "existing_customer")


@rule(
    "purpose-specific",
    title="The purpose is one that the person consented to, or was told of",
    reference="GDPR 5(1)(b), 6; SAN-2025-017",
    bases={"consent": "c", "legitimate_interest": "n", "request": ""},
)
def purpose_specific(f: Facts) -> bool:
    """Consent: `event.purpose` is in `consent.purposes`; legitimate interest: in `notice.purposes`; request: it is
    `direct_marketing`."""
    if f.basis == "consent":
        return f.consent is not None and f.event.purpose in f.consent.purposes
    if f.basis == "legitimate_interest":
        return f.notice is not None and f.event.purpose in f.notice.purposes
    return f.event.purpose == "direct_marketing"


@rule(
    "partner-named-at-consent",
    title="The person was shown this partner's name, on an exhaustive list, when consenting",
    reference="GDPR 4(11), 13; Canal+, HUBSIDE; C-317/25 pending",
    bases={"consent": "cn"},
)
def partner_named(f: Facts) -> bool:
    """The partner is in `consent.party_ids` and in `notice.partner_list.party_ids`; `consent.partner_list_version` is
    `notice.partner_list.version`; the list is `exhaustive` and its `mode` is `inline` or `link`; whatever
    `policy.list_changes`."""
    c, n = f.consent, f.notice
    return (
        c is not None
        and n is not None
        and f.partner_id in c.party_ids
        and f.partner_id in n.partner_list.party_ids
        and c.partner_list_version is not None
        and c.partner_list_version == n.partner_list.version
        and n.partner_list.exhaustive is True
        and n.partner_list.mode in ("inline", "link")
    )


@rule(
    "consent-valid-act",
    title="Consent was a clear act, apart from the terms, on a box that was not ticked beforehand",
    reference="GDPR 4(11), 7(2); C-673/17",
    bases={"consent": "cn"},
    scope=Scope.CHANNEL,
)
def valid_act(f: Facts) -> bool:
    """`consent.indication` is `unticked_box_ticked`, `signature` or `dedicated_action`; controls of the channel:
    `prechecked` false, `separate_from_terms` true."""
    if f.consent is None or f.notice is None:
        return False
    control = f.notice.controls[f.channel]
    return f.consent.indication in CLEAR_ACTS and control.prechecked is False and control.separate_from_terms is True


@rule(
    "form-not-deceptive",
    title="The form was approved, and refusing was as easy as accepting",
    reference="GDPR 4(11), 7(4); TAGADAMEDIA",
    bases={"consent": "cn"},
    scope=Scope.CHANNEL,
)
def form_not_deceptive(f: Facts) -> bool:
    """`notice.review.status` is `approved`; controls of the channel: `refuse_equal_prominence`,
    `service_without_consent` true."""
    if f.notice is None:
        return False
    control = f.notice.controls[f.channel]
    return (
        f.notice.review.status == "approved"
        and control.refuse_equal_prominence is True
        and control.service_without_consent is True
    )


@rule(
    "consent-proof-individual",
    title="There is an individual proof of the consent, to the text of that notice, kept until now",
    reference="GDPR 7(1); EDF, SOLOCAL",
    bases={"consent": "cn"},
)
def proof_individual(f: Facts) -> bool:
    """`consent.proof`: `individual` true, `text_hash` is `notice.text_hash`, `collector` set, t ≤ `kept_until`."""
    proof, n = f.proof, f.notice
    return (
        n is not None
        and proof.individual is True
        and proof.text_hash is not None
        and proof.text_hash == n.text_hash
        and proof.collector is not None
        and proof.kept_until is not None
        and f.t <= proof.kept_until
    )


@rule(
    "notice-in-force-at-collection",
    title="The notice is known, and was the one published when the data was collected",
    reference="GDPR 5(2), 13",
    bases={"consent": "c", "legitimate_interest": ""},
)
def notice_in_force(f: Facts) -> bool:
    """n exists; `notice.published_from` ≤ x < `notice.published_to`, x being `consent.event_time`, for legitimate
    interest `event.collected_at`."""
    x = f.consent.event_time if f.basis == "consent" and f.consent else f.event.collected_at
    n = f.notice
    return (
        n is not None
        and x is not None
        and n.published_from is not None
        and n.published_from <= x
        and (n.published_to is None or x < n.published_to)
    )


@rule(
    "no-onward-consent",
    title="The data came from the collector, or through parties that the person was told of",
    reference="CNIL partner fiche; AG in C-317/25",
    status=Status.CONTESTED,
    bases={"consent": "c", "legitimate_interest": "n"},
    first_day=dt.date(2018, 12, 28),
)
def no_onward_consent(f: Facts) -> bool:
    """`event.source.role` is `primary_collector` and `.chain` has one member; or `reseller`, and every later member
    and the partner are in `consent.party_ids` and `consent.proof.collector` is the first (legitimate interest: only
    in `notice.partner_list.party_ids`)."""
    chain = f.source.chain
    if not chain:
        return False
    if f.source.role == "primary_collector":
        return len(chain) == 1
    if f.source.role != "reseller":
        return False
    if f.basis == "consent":
        named = frozenset(f.consent.party_ids) if f.consent else frozenset()
        return named.issuperset((*chain[1:], f.partner_id)) and f.proof.collector == chain[0]
    return f.notice is not None and f.notice.partner_list.party_ids.issuperset((*chain[1:], f.partner_id))
