"""Rules about legitimate interest, and about professionals."""

from transfer_gate.model.terms import CHANNELS
from transfer_gate.policy.facts import Facts
from transfer_gate.policy.rule import Scope, rule


@rule(
    "li-informed",
    title="The person was told of prospecting and of the recipients, and could object at once and for free",
    reference="GDPR 6(1)(f), 13, 21(4)",
    bases={"legitimate_interest": "n"},
)
def informed(f: Facts) -> bool:
    """`direct_marketing` is in `notice.purposes`; `notice.recipient_categories` is not empty;
    `notice.objection.present`, `.free`, `.at_collection` true."""
    n = f.notice
    return (
        n is not None
        and "direct_marketing" in n.purposes
        and bool(n.recipient_categories)
        and n.objection.present is True
        and n.objection.free is True
        and n.objection.at_collection is True
    )


@rule(
    "li-recipient-expected",
    title="The person could expect this recipient",
    reference="FORIOU; C-621/22. B: C",
    bases={"legitimate_interest": "np"},
    scope=Scope.CHANNEL,
)
def recipient_expected(f: Facts) -> bool:
    """`notice.partner_list.party_ids` contains the partner; or it is empty and A; or B: `policy.list_changes` is
    `inform_and_object`, channel `postal` or kind professional, A, and a live record with `lawful_basis`
    `legitimate_interest` contains channel, purpose and partner. A: `partner.categories` and
    `notice.recipient_categories` have a member in common."""
    n, p = f.notice, f.partner
    if n is None or p is None:
        return False
    if f.partner_id in n.partner_list.party_ids:
        return True
    if p.categories.isdisjoint(n.recipient_categories):
        return False
    return n.partner_list.empty or (
        f.policy.list_changes == "inform_and_object"
        and (f.channel == "postal" or f.kind == "professional")
        and f.told_of_partner
    )


@rule(
    "b2b-scope",
    title="The offer has to do with the professional's job",
    reference="L34-5; CNIL e-mail fiche (for sms and automated_call: C). Kinds of 1.5: H",
    channels=tuple(channel for channel in CHANNELS if channel != "postal"),
    kinds=("professional",),
)
def b2b_scope(f: Facts) -> bool:
    """related(`event.offer_category`, `event.subject.job`)."""
    return f.view.related(f.event.offer_category, f.subject.job)
